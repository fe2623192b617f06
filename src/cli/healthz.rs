//! `oust healthz`: asks a running process whether it lives, for images that have no shell and no curl.
//!
//! One request in clear over one connection, bounded in time and size. It reads no configuration and no secret.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

use super::{Code, Context, Failure};

/// The whole exchange may take this long.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes read of the answer: its first line is all that counts.
const MOST: u64 = 1024;

/// `oust healthz`
#[derive(Debug, Args)]
pub(super) struct Healthz {
    /// What to ask; /readyz tells whether it can do its work.
    #[arg(long, default_value = "http://127.0.0.1:8080/healthz")]
    url: Url,
}

impl Healthz {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let url = self.url;
        let host = url.host_str().filter(|_| url.scheme() == "http" && url.username().is_empty());
        let (Some(host), Some(port)) = (host, url.port_or_known_default()) else {
            let next = "--url http://127.0.0.1:8080/healthz";
            return Err(Failure::new(Code::Usage, "only plain http addresses can be asked", next));
        };
        let next = format!("is `oust serve` running, and does it listen at {host}:{port}?");
        let answer = tokio::time::timeout(PATIENCE, ask(host, port, url.path())).await;
        let answer = answer.map_err(|_| Failure::new(Code::Unreachable, "no answer in time", next.clone()))?;
        let answer = answer.map_err(|error| Failure::of(Code::Unreachable, &error, next.clone()))?;
        match status(&answer) {
            Some(200) => {
                context.out.say(&json!({ "ok": true, "status": 200 }), || "ok".into());
                Ok(())
            }
            Some(status) => {
                let message = format!("{} answered {status}", url.path());
                Err(Failure::new(Code::Problems, message, "its body names what is not well"))
            }
            None => Err(Failure::new(Code::Unreachable, "what answered does not speak HTTP", next)),
        }
    }
}

/// The beginning of the answer to one GET.
async fn ask(host: &str, port: u16, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The status of an HTTP/1 answer.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.strip_prefix(b"HTTP/1.1 ").or_else(|| answer.strip_prefix(b"HTTP/1.0 "))?;
    let digits = line.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::cli::Out;
    use crate::config::Environment;

    /// The exit code of `oust healthz` against a server that says this.
    async fn asked(answer: &'static [u8]) -> Option<Code> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 512];
            let read = stream.read(&mut request).await.expect("a request");
            stream.write_all(answer).await.expect("an answer");
            request[..read].starts_with(b"GET /readyz HTTP/1.1\r\n")
        });
        let url = Url::parse(&format!("http://{address}/readyz")).expect("an address");
        let context = Context { out: Out { json: true, colour: false }, environment: Environment::of([]) };
        let told = Healthz { url }.run(&context).await;
        assert!(server.await.expect("the server ran"), "another request was sent");
        told.err().map(|failure| failure.code)
    }

    #[tokio::test]
    async fn a_process_is_well_only_when_it_answers_200() {
        assert_eq!(asked(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await, None);
        assert_eq!(asked(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").await, Some(Code::Problems));
        for odd in [&b"SSH-2.0-OpenSSH\r\n"[..], b"HTTP/1.1 2", b"HTTP/1.1 +20 ", b""] {
            assert_eq!(asked(odd).await, Some(Code::Unreachable), "{odd:?}");
        }
    }

    #[tokio::test]
    async fn only_plain_addresses_are_asked() {
        let context = Context { out: Out { json: true, colour: false }, environment: Environment::of([]) };
        for address in ["https://127.0.0.1/", "http://me@127.0.0.1/", "file:///etc/passwd"] {
            let url = Url::parse(address).expect("an address");
            let told = Healthz { url }.run(&context).await.expect_err(address);
            assert_eq!(told.code, Code::Usage, "{address}");
        }
    }
}
