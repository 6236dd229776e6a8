//! Stands in for `grpcurl` where a machine has none, so that documented lines run as they are written: the same
//! arguments, as far as Warren's pages use them, over a client that knows the server by reflection alone.

mod arguments;
mod describe;

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use futures::StreamExt as _;
use serde_json::Value;
use tonic::Status;
use warren_reflect::Client;

use arguments::{Arguments, Verb};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::from(2);
        }
    };
    match run(&arguments).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let client = Client::connect(&format!("http://{}", arguments.address))
        .await
        .with_context(|| format!("Failed to dial target host \"{}\"", arguments.address))?
        .terse(!arguments.emit_defaults);
    match &arguments.verb {
        Verb::List(None) => {
            let mut services = client.services().to_vec();
            services.sort();
            print(services.join("\n"));
        }
        Verb::List(Some(service)) => {
            let methods = client.methods(service).join("\n").replace('/', ".");
            anyhow::ensure!(!methods.is_empty(), "Service not found: {service}");
            print(methods);
        }
        Verb::Describe(symbol) => {
            let known = describe::describe(client.pool(), symbol);
            let found = match known {
                Some(found) => Some(found),
                None => describe::describe(&client.find(symbol).await?, symbol),
            };
            print(found.with_context(|| format!("Symbol not found: {symbol}"))?);
        }
        Verb::Call(method) => return call(&client, method, arguments).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// Every answer as it comes, then how it ended.
async fn call(client: &Client, method: &str, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let limit = arguments.max_time.unwrap_or(Duration::MAX);
    let answers = async {
        // A method with one answer is a stream of one.
        let mut answers = client.watch(method, arguments.data.clone()).await?;
        while let Some(answer) = answers.next().await {
            print(pretty(&answer?));
        }
        anyhow::Ok(())
    };
    let error = match tokio::time::timeout(limit, answers).await {
        Ok(Ok(())) => return Ok(ExitCode::SUCCESS),
        Ok(Err(error)) => error,
        Err(_) => Status::deadline_exceeded("context deadline exceeded").into(),
    };
    let status: Status = error.downcast()?;
    eprintln!(
        "ERROR:\n  Code: {:?}\n  Message: {}",
        status.code(),
        status.message()
    );
    let details = client.details(&status).await?;
    if !details.is_empty() {
        eprintln!("  Details:");
    }
    for (at, detail) in details.iter().enumerate() {
        eprintln!(
            "  {})\t{}",
            at + 1,
            pretty(detail).replace('\n', "\n    \t")
        );
    }
    let code = u8::try_from(i32::from(status.code())).unwrap_or(u8::MAX - 64);
    Ok(ExitCode::from(64 + code))
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

#[allow(clippy::print_stdout)]
fn print(text: impl std::fmt::Display) {
    println!("{text}");
}
