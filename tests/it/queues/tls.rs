//! TLS to the broker: who signed it is checked, and who we are can be shown.

use oust::queue;
use oust::queue::amqp::{self, Endpoint};

use super::*;

fn config(ca: Option<&str>) -> Config {
    let mut config = rabbit::config_at(&rabbit::tls_url());
    config.endpoint = Endpoint { ca: ca.map(rabbit::tls_file), ..config.endpoint };
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_signed_by_the_configured_authority_is_used() {
    let config = config(Some("ca.pem"));
    amqp::migrate(&config).await.expect("declared");
    let queue = Amqp::open(config.clone(), Telemetry::new(), None).await.expect("opens");
    accept(&*queue, one(1)).await;
    let identified = Config {
        endpoint: Endpoint {
            identity: Some((rabbit::tls_file("client.pem"), rabbit::tls_file("client.key"))),
            ..config.endpoint.clone()
        },
        ..config.clone()
    };
    let queue = Amqp::open(identified, Telemetry::new(), None).await.expect("opens");
    accept(&*queue, one(2)).await;
    Behind::open(&config, &rabbit::url()).await.tidy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_signed_by_anybody_else_is_refused() {
    for ca in [Some("other.pem"), None] {
        let queue = Amqp::open(config(ca), Telemetry::new(), None).await.expect("opens");
        let Err(queue::Error::Away(why)) = queue.accept(one(1)).await else { panic!("it must not be used") };
        assert!(why.contains("TLS") && why.contains("certificate"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_read_is_said_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let rubbish = folder.path().join("rubbish.pem");
    std::fs::write(&rubbish, "no certificate").expect("written");
    for path in [rubbish, folder.path().join("absent.pem")] {
        let config = config(None);
        let config = Config { endpoint: Endpoint { ca: Some(path), ..config.endpoint.clone() }, ..config };
        let error = Amqp::open(config, Telemetry::new(), None).await.expect_err("it cannot be read");
        assert!(matches!(&error, amqp::Error::Tls(text) if text.contains("PEM")), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn speaking_plainly_to_a_tls_port_and_the_reverse_ends_in_an_error_and_not_in_waiting() {
    let plain = rabbit::config();
    let tls = config(Some("ca.pem"));
    let wrong = [
        Endpoint { port: tls.endpoint.port, ..plain.endpoint.clone() },
        Endpoint { port: plain.endpoint.port, ..tls.endpoint.clone() },
    ];
    for endpoint in wrong {
        let error = amqp::migrate(&Config { endpoint, ..plain.clone() }).await.expect_err("it cannot work");
        assert!(matches!(error, amqp::Error::Unreachable { .. }), "{error}");
    }
}
