//! Tests of the real embedding model. `OPENTRACY_TEST_EMBEDDER` names its folder; `cargo xtask
//! test` sets it.

use opentracy_base::health::HealthRegistry;
use opentracy_config as config;
use opentracy_router::matrix::dot;
use opentracy_routing::embed::{self, Urgency};

#[tokio::test]
async fn sentences_are_as_alike_as_they_should_be_whatever_they_come_with() {
    let Some(path) = std::env::var_os("OPENTRACY_TEST_EMBEDDER") else {
        eprintln!("skipped: OPENTRACY_TEST_EMBEDDER is not set");
        return;
    };
    let config = config::Embedder {
        path: Some(path.into()),
        ..config::Embedder::default()
    };
    let embedder = embed::open(&config, &HealthRegistry::default())
        .unwrap()
        .unwrap();
    assert_eq!(embedder.identity().dimensions, 384);
    let texts = [
        "That is a happy person",
        "That is a very happy person",
        "Today is a sunny day",
    ];
    let long = "word ".repeat(2000);
    let mut together: Vec<String> = texts.map(str::to_owned).to_vec();
    together.push(long.clone());
    together.push(String::new());
    let embedded = embedder.embed(together, Urgency::Request).await.unwrap();
    // Similarity from the model's card, as sentence-transformers computes it.
    assert!((dot(&embedded[0], &embedded[1]) - 0.943).abs() < 0.002);
    assert!((dot(&embedded[0], &embedded[2]) - 0.257).abs() < 0.002);
    for (text, together) in texts.iter().zip(&embedded) {
        let alone = embedder
            .embed(vec![(*text).to_owned()], Urgency::Job)
            .await
            .unwrap();
        assert!(dot(&alone[0], together) > 0.9999, "a batch changes nothing");
    }
    assert!(
        embedded
            .iter()
            .all(|row| (dot(row, row) - 1.0).abs() < 1e-4)
    );
}
