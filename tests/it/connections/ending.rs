//! Shutdown under load. A client that follows the protocol loses no request.

use reqwest::Client;

use super::*;
use crate::serve;

/// Sends requests until the port is closed, and returns the number of answers.
async fn ask_to_the_end(client: Client, url: String) -> usize {
    let mut answers = 0;
    loop {
        let request = client.post(&url).header("Content-Type", "application/json");
        match request.body(admission_review(&daemonset(), None)).send().await {
            Ok(response) => {
                assert_eq!(response.status(), 200);
                response.bytes().await.unwrap();
                answers += 1;
            }
            // The connection was not accepted, so no request was lost.
            Err(error) if error.is_connect() => return answers,
            Err(error) => panic!("a request was lost after {answers} answers: {error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_loses_no_request() {
    let mut server = server(|it| it).await;
    let client = || serve::client(server.certificates.path(), |builder| builder);
    let clients: Vec<_> =
        (0..4).map(|_| tokio::spawn(ask_to_the_end(client(), server.url("/mutate")))).collect();
    let reviews = r#"wardset_reviews_total{webhook="mutate",operation="create",outcome="allowed"}"#;
    metric_reaches(&server, reviews, 40).await;
    server.begin_shut_down();
    for client in clients {
        let answers = soon("the client still gets answers", client).await.unwrap();
        assert!(answers > 0);
    }
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_new_connections_once_during_shutdown_and_closes_them() {
    let mut server =
        server(|it| Options { limits: Limits { closing: Duration::from_secs(8), ..limits() }, ..it }).await;
    let body = admission_review(&daemonset(), None);
    let mut idle = connect(&server).await;
    idle.write_all(&review()).await.unwrap();
    assert!(!answer(&mut idle).await.contains("connection: close"));
    let mut open = connect(&server).await;
    open.write_all(head(body.len()).as_bytes()).await.unwrap();
    server.begin_shut_down();
    let unready = async { while server.admin("/readyz").await.0 != 503 {} };
    soon("the server still reports ready", unready).await;
    // A new connection, an idle one and one with an open request: each gets an answer, then the server closes it.
    let mut late = connect(&server).await;
    for stream in [&mut late, &mut idle] {
        stream.write_all(&review()).await.unwrap();
    }
    open.write_all(&body).await.unwrap();
    for mut stream in [late, idle, open] {
        let head = answer(&mut stream).await;
        assert!(head.starts_with("http/1.1 200") && head.contains("connection: close"), "{head}");
        assert!(ended(&mut stream).await.is_empty());
    }
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_answers_open_requests_and_closes_idle_connections() {
    let closing = Duration::from_millis(200);
    let mut server = server(|it| Options { limits: Limits { closing, ..limits() }, ..it }).await;
    let body = admission_review(&daemonset(), None);
    let mut idle = connect(&server).await;
    idle.write_all(&review()).await.unwrap();
    answer(&mut idle).await;
    let mut half = connect(&server).await;
    half.write_all(&review()).await.unwrap();
    answer(&mut half).await;
    let mut open = connect(&server).await;
    open.write_all(head(body.len()).as_bytes()).await.unwrap();
    // The headers of this connection's last request are incomplete.
    let begin = head(body.len()).into_bytes();
    half.write_all(&begin[..20]).await.unwrap();
    half.flush().await.unwrap();
    server.begin_shut_down();
    // The server closes it without a request after it has stopped accepting connections.
    assert!(ended(&mut idle).await.is_empty());
    assert!(TcpStream::connect(server.addresses.webhook).await.is_err());
    half.write_all(&begin[20..]).await.unwrap();
    half.write_all(&body).await.unwrap();
    open.write_all(&body).await.unwrap();
    for mut stream in [half, open] {
        assert!(answer(&mut stream).await.starts_with("http/1.1 200"));
    }
    server.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_timeout_closes_unfinished_requests() {
    let drain = Duration::from_millis(500);
    let server = server(|it| Options { drain, ..it }).await;
    let mut open = connect(&server).await;
    open.write_all(head(10).as_bytes()).await.unwrap();
    soon("the shutdown did not end", server.shut_down()).await;
    assert!(ended(&mut open).await.is_empty());
}
