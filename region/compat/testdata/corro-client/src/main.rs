//! Reads commands from stdin, one JSON object a line, and does them with the
//! published client. What comes back is printed, one JSON object a line:
//! {"exec": …}, {"query": […]}, {"event": …}, {"notify": …}, {"stats": …},
//! {"health": …}, or {"failed": "…"}.

use corro_api_types::{HealthResponse, Statement, TableStatRequest, TableStatResponse};
use corro_client::CorrosionApiClient;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{json, Value};
use tokio::io::{AsyncBufReadExt, BufReader};

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Command {
    Exec(Vec<Statement>),
    Query(Statement, Option<u64>),
    Subscribe(Statement),
    Updates(String),
    Stats(Vec<String>),
    Health(String),
}

fn say(v: Value) {
    println!("{v}");
}

fn failed(e: impl std::fmt::Debug) -> Value {
    json!({ "failed": format!("{e:?}") })
}

async fn run(client: CorrosionApiClient, addr: String, command: Command) -> Value {
    match command {
        Command::Exec(statements) => match client.execute(&statements, None).await {
            Ok(r) => json!({ "exec": r }),
            Err(e) => failed(e),
        },
        Command::Query(statement, timeout) => {
            let mut stream = match client.query(&statement, timeout).await {
                Ok(s) => s,
                Err(e) => return failed(e),
            };
            let mut events = vec![];
            while let Some(event) = stream.next().await {
                match event {
                    Ok(e) => events.push(json!(e)),
                    Err(e) => return failed(e),
                }
            }
            json!({ "query": events })
        }
        Command::Subscribe(statement) => {
            let mut stream = match client.subscribe(&statement, false, None).await {
                Ok(s) => s,
                Err(e) => return failed(e),
            };
            tokio::spawn(async move {
                while let Some(event) = stream.next().await {
                    match event {
                        Ok(e) => say(json!({ "event": e })),
                        Err(e) => say(failed(e)),
                    }
                }
                say(json!({ "event": "end" }));
            });
            json!({ "subscribed": true })
        }
        Command::Updates(table) => {
            let mut stream = match client.updates(&table).await {
                Ok(s) => s,
                Err(e) => return failed(e),
            };
            tokio::spawn(async move {
                while let Some(event) = stream.next().await {
                    match event {
                        Ok(e) => say(json!({ "notify": e })),
                        Err(e) => say(failed(e)),
                    }
                }
            });
            json!({ "subscribed": true })
        }
        Command::Stats(tables) => {
            let plain = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
            let request = plain.post(format!("http://{addr}/v1/table_stats")).json(&TableStatRequest { tables });
            match async { request.send().await?.json::<TableStatResponse>().await }.await {
                Ok(r) => json!({ "stats": r }),
                Err(e) => failed(e),
            }
        }
        Command::Health(query) => {
            let plain = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
            let request = plain.get(format!("http://{addr}/v1/health{query}"));
            match async { request.send().await?.json::<HealthResponse>().await }.await {
                Ok(r) => json!({ "health": r }),
                Err(e) => failed(e),
            }
        }
    }
}

#[tokio::main]
async fn main() {
    let addr = std::env::args().nth(1).expect("address of the HTTP listener");
    let client = CorrosionApiClient::new(addr.parse().expect("host:port")).expect("client");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str::<Command>(&line) {
            Ok(command) => say(run(client.clone(), addr.clone(), command).await),
            Err(e) => say(failed(e)),
        }
    }
}
