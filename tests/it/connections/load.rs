//! Overload: slow bodies, large bodies, dry runs, and reviews of policies.

use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::*;
use crate::guests;

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_hold_no_permit_and_time_out() {
    let desk = crate::serve::desk_with(support::defaults().await, 1);
    let server =
        Server::at(desk, Arc::default(), |it| Options { limits: Limits { body: HEAD, ..limits() }, ..it });
    let mut slow = Vec::new();
    for _ in 0..3 {
        let mut stream = connect(&server).await;
        stream.write_all(head(1000).as_bytes()).await.unwrap();
        stream.write_all(b"{").await.unwrap();
        slow.push(stream);
    }
    assert!(is_served(&server).await);
    for mut stream in slow {
        let said = ended(&mut stream).await;
        assert!(said.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&said));
    }
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_the_oldest_incomplete_body_if_bodies_exceed_their_quota() {
    let kib = 1 << 10;
    let server = server(|it| Options { limits: Limits { body_bytes: 200 * kib, ..limits() }, ..it }).await;
    // Each request counts at least 16 KiB.
    let mut slow = connect(&server).await;
    slow.write_all(head(200 * kib).as_bytes()).await.unwrap();
    slow.write_all(&vec![b' '; 100 * kib]).await.unwrap();
    assert!(is_served(&server).await);
    let padded = [admission_review(&daemonset(), None), vec![b' '; 120 * kib]].concat();
    let statuses = async {
        // This request may be faster than the bytes of the slow one.
        loop {
            assert_eq!(server.post("/mutate", padded.clone()).await.status(), 200);
            if metric(&server, r#"wardset_refused_total{status="429"}"#).await > 0 {
                break;
            }
        }
    };
    soon("no request was refused", statuses).await;
    let said = ended(&mut slow).await;
    assert!(said.starts_with(b"HTTP/1.1 429"), "{}", String::from_utf8_lossy(&said));
    assert!(String::from_utf8_lossy(&said).contains("too many bytes of requests at once; try again"));
    // A request that exceeds the limit alone is refused too, and releases all of its quota.
    for _ in 0..3 {
        let large = [admission_review(&daemonset(), None), vec![b' '; 300 * kib]].concat();
        let refused = server.client().post(server.url("/mutate")).header("Content-Type", "application/json");
        // Nobody reads the rest of the body, so the connection may close before the answer arrives.
        if let Ok(refused) = refused.body(large).send().await {
            assert_eq!(refused.status(), 429);
        }
    }
    assert_eq!(server.post("/mutate", padded).await.status(), 200);
    server.shut_down().await;
}

fn with(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut review: Value = serde_json::from_slice(&admission_review(&daemonset(), None)).unwrap();
    change(&mut review["request"]);
    review.to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_runs_and_kube_system_get_at_most_half_of_the_permits() {
    let folder = tempfile::tempdir().unwrap();
    let policy = burning(folder.path(), Duration::from_secs(10));
    let server = Server::with(support::snapshot(&policy).await, 2).await;
    let dry = with(|request| request["dryRun"] = json!(true));
    let burn = {
        let (client, url, dry) = (server.client(), server.url("/mutate?timeout=30s"), dry.clone());
        tokio::spawn(async move {
            loop {
                let request = client.post(&url).header("Content-Type", "application/json").body(dry.clone());
                let response = request.send().await.unwrap();
                // One of the other requests may hold the permit for a moment.
                if response.status() != 429 {
                    break response;
                }
            }
        })
    };
    let share = "too many reviews of `kube-system` and dry runs at once; try again\n";
    let system = with(|request| request["namespace"] = json!("kube-system"));
    let full = async {
        // Until the looping review holds a permit.
        loop {
            let response = server.post("/mutate", system.clone()).await;
            if response.status() == 429 {
                assert_eq!(response.headers()["retry-after"], "1");
                break response.text().await.unwrap();
            }
        }
    };
    assert_eq!(soon("dry runs and kube-system were never refused", full).await, share);
    let another = server.post("/mutate?timeout=1s", dry).await;
    assert_eq!((another.status().as_u16(), another.text().await.unwrap()), (429, share.to_owned()));
    assert!(is_served(&server).await);
    assert!(!burn.is_finished(), "the looping review held no permit");
    assert_eq!(burn.await.unwrap().status(), 500);
    assert_eq!(server.post("/mutate", system).await.status(), 200);
    server.shut_down().await;
}

/// The server and its client share one thread here. A guest on that thread would use most of its CPU time.
#[tokio::test]
async fn guests_use_no_time_of_the_thread_that_answers() {
    let burns = Duration::from_secs(1);
    let folder = tempfile::tempdir().unwrap();
    let policy = burning(folder.path(), burns);
    let server = Server::launch(support::snapshot(&policy).await, |it| it);
    let started = (Instant::now(), processor_time());
    let dry = with(|request| request["dryRun"] = json!(true));
    assert_eq!(server.post("/mutate?timeout=30s", dry).await.status(), 500);
    let (elapsed, busy) = (started.0.elapsed(), processor_time() - started.1);
    assert!(elapsed >= burns && busy < burns / 2, "{busy:?} of {elapsed:?}");
    assert!(is_served(&server).await);
    server.shut_down().await;
}

/// Returns the CPU time of this thread.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// Returns a policy that times out in every dry run.
fn burning(folder: &Path, timeout: Duration) -> String {
    let module = folder.join("loop.wasm");
    std::fs::write(&module, guests::component("loop")).unwrap();
    support::policy("burns", "x", &json!({}), &format!("  limits: {{timeout: {}ms}}", timeout.as_millis()))
        .replace("builtin:x", &format!("file:{}", module.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_of_policies_use_no_permit_of_other_reviews() {
    let server = Server::with(support::defaults().await, 0).await;
    assert_eq!(server.post("/mutate", admission_review(&daemonset(), None)).await.status(), 429);
    let policy = with(|request| {
        request["kind"] = json!({"group": "wardset.dev", "version": "v1alpha1", "kind": "Policy"});
        request["object"] = json!({
            "apiVersion": "wardset.dev/v1alpha1", "kind": "Policy", "metadata": {"name": "p"},
            "spec": {"module": "builtin:default-labels", "settings": {"labels": {"a": "b"}}},
        });
    });
    assert_eq!(server.post("/validate-policy", policy).await.status(), 200);
    assert_eq!(server.admin("/readyz").await.0, 200);
    server.shut_down().await;
}
