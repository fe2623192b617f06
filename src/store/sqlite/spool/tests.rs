//! The spool alone, with its file.

use super::*;

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("spool.db");
    (folder, path)
}

#[tokio::test]
async fn what_was_put_comes_out_in_order_over_a_restart_and_is_gone_when_removed() {
    let (_folder, path) = place();
    let spool = Spool::open(&path, 1_000).expect("opens");
    let puts = (0..20_u8).map(|n| spool.put(vec![n; 10]));
    for put in futures_util::future::join_all(puts).await {
        put.expect("durable");
    }
    assert_eq!(spool.figures(), (20, 200));
    drop(spool);
    let spool = Spool::open(&path, 1_000).expect("opens again");
    spool.filled().await;
    let rows = spool.first(5, u64::MAX).await.expect("reads");
    assert_eq!(rows.iter().map(|(_, bytes)| bytes[0]).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(spool.first(5, 15).await.expect("reads").len(), 2, "bounded by bytes");
    spool.remove_to(rows[2].0).await.expect("forgets");
    assert_eq!(spool.figures(), (17, 170));
    assert_eq!(spool.first(1, u64::MAX).await.expect("reads")[0].1[0], 3);
}

#[tokio::test]
async fn a_full_spool_says_so_and_takes_again_when_there_is_room() {
    let (_folder, path) = place();
    let spool = Spool::open(&path, 25).expect("opens");
    spool.put(vec![1; 20]).await.expect("fits");
    let error = spool.put(vec![2; 20]).await.expect_err("does not fit");
    assert!(matches!(&error, Error::Away(text) if text.contains("full")), "{error}");
    assert!(spool.is_full());
    let first = spool.first(1, 1).await.expect("reads")[0].0;
    spool.remove_to(first).await.expect("forgets");
    assert!(!spool.is_full());
    spool.put(vec![2; 20]).await.expect("fits");
}

#[tokio::test]
async fn another_process_and_another_file_are_refused() {
    let (folder, path) = place();
    let spool = Spool::open(&path, 100).expect("opens");
    assert!(matches!(Spool::open(&path, 100), Err(Error::Unusable(_))), "it is held");
    drop(spool);
    let foreign = folder.path().join("foreign.db");
    Connection::open(&foreign).and_then(|conn| conn.execute_batch("CREATE TABLE x (y)")).expect("a table");
    let error = Spool::open(&foreign, 100).expect_err("foreign");
    assert!(error.to_string().contains("not a spool"), "{error}");
    std::fs::write(&foreign, "no database at all, but long enough to be taken for one").expect("written");
    assert!(Spool::open(&foreign, 100).is_err());
    assert!(Spool::open(folder.path().join("no/such/spool.db"), 100).is_err());
}

#[tokio::test]
async fn a_row_that_does_not_read_is_kept_beside_the_spool() {
    let (_folder, path) = place();
    let spool = Spool::open(&path, 100).expect("opens");
    spool.put(b"rubbish".to_vec()).await.expect("durable");
    let (seq, bytes) = spool.first(1, 1).await.expect("reads").remove(0);
    let kept = spool.set_aside(seq, bytes, Timestamp::UNIX_EPOCH).await.expect("kept");
    assert_eq!(std::fs::read(kept).expect("there"), b"rubbish");
    assert_eq!(spool.figures(), (0, 0));
}
