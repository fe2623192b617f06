//! The lock beside the file: one `oust serve` at a time. It is the operating system's, so a killed process leaves none.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::store::Error;

/// Takes the lock; it is held until the file is dropped.
pub(super) fn take(store: &Path) -> Result<File, Error> {
    let mut path = store.as_os_str().to_owned();
    path.push(".lock");
    let shown = Path::new(&path).display();
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(|error| {
            Error::Unusable(format!("the lock {shown} cannot be opened ({error}); check its permissions"))
        })?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Unusable(format!(
            "another oust serve uses {}; stop it first, or give this one a store of its own",
            store.display()
        ))),
        Err(error) => Err(Error::Unusable(format!(
            "the lock {shown} cannot be taken ({error}); keep the store on a local file system"
        ))),
    }
}
