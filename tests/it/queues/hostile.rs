//! What else may lie on a broker: messages of other versions, of nobody, of great size.

use oust::store::{Buried, Filter, Page};

use super::*;
use crate::support::until_async;

async fn buried(stage: &Stage) -> Vec<Buried> {
    let page = Page { after: None, limit: 100 };
    let listed = stage.store.buried_list(&Filter::default(), &page).await.expect("a read");
    let mut rows = Vec::new();
    for row in listed.items {
        rows.push(stage.store.buried(row.id).await.expect("a read").expect("it is there"));
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_buried_with_its_bytes_and_holds_up_nothing() {
    let stage = Stage::amqp().await;
    let strange: [(&str, Vec<u8>); 7] = [
        ("signals", Vec::new()),
        ("signals", br#"{"v":2,"kind":"signal","signal":{"of":"the future"}}"#.to_vec()),
        ("signals", vec![0xff; 300]),
        ("signals", format!("{}1", "[".repeat(200_000)).into_bytes()),
        ("buried", br#"{"v":1,"kind":"song"}"#.to_vec()),
        ("buried", b"null".to_vec()),
        ("signals", vec![b'x'; 2_000_000]),
    ];
    for (queue, data) in &strange {
        stage.behind().put(queue, data).await;
        // The same again is the same.
        stage.behind().put(queue, data).await;
    }
    accept(&*stage.queue, one(1)).await;
    let claims = stage.claim(10).await;
    assert_eq!(stage.take_in(claims).await, 1);
    until_async("all to be buried", async || buried(&stage).await.len() == strange.len()).await;
    for row in buried(&stage).await {
        assert!(row.reason.starts_with("a message on the broker"), "{}", row.reason);
        assert!(row.content["base64"].is_string());
    }
    let future = buried(&stage).await.into_iter().find(|row| row.reason.contains("version 2")).expect("it is there");
    assert!(future.content["text"].as_str().expect("text").contains("the future"));
    until_async("the broker to be empty", async || {
        stage.behind().count("signals").await + stage.behind().count("buried").await == 0
    })
    .await;
    let stage = stage.restarted().await;
    stage.assert_idle().await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_what_can_be_printed() {
    let mut config = rabbit::config();
    config.endpoint.password = "hunter2-of-a-test".to_owned().into();
    let queue = Amqp::open(config.clone(), Telemetry::new(), None).await.expect("opens");
    let error = queue.accept(one(1)).await.expect_err("the password is wrong");
    let migrated = oust::queue::amqp::migrate(&config).await.expect_err("the password is wrong");
    for shown in [
        format!("{config:?}"),
        config.endpoint.to_string(),
        format!("{queue:?}"),
        error.to_string(),
        format!("{error:?}"),
        migrated.to_string(),
        format!("{migrated:?}"),
        format!("{:?}", queue.condition()),
    ] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
