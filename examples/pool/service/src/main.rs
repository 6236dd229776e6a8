//! Shares a few connections to PostgreSQL among all requests of its workload. A client sends a query
//! and the end of its stream; the rows come back, a line of JSON each, and then a line that says how
//! it went: `ok` or `error: WORDS`.

mod connections;

use std::env;
use std::time::Duration;

use futures_util::{TryStreamExt, pin_mut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use connections::Pool;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T = ()> = std::result::Result<T, Error>;

/// In bytes; one as long as this was cut off.
const MAX_QUERY: u64 = 64 * 1024;

/// From a query's arrival to its last row, the wait for a connection included.
const MAX_TIME: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result {
    let database = env::var("DATABASE_URL")?.parse()?;
    let size = env::var("POOL_SIZE").map_or(Ok(4), |size| size.parse())?;
    let pool = connections::pool(database, size)?;

    let listener = TcpListener::bind("127.0.0.1:7072").await?;
    println!(
        "listening on {}, with at most {size} connections",
        listener.local_addr()?
    );
    loop {
        // There are never more than the component may have instances.
        let (client, _) = listener.accept().await?;
        let pool = pool.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(client, &pool).await {
                println!("client: {error}");
            }
        });
    }
}

async fn serve(client: TcpStream, pool: &Pool) -> Result {
    let (request, mut reply) = client.into_split();
    let mut query = String::new();
    request.take(MAX_QUERY).read_to_string(&mut query).await?;

    let outcome = timeout(MAX_TIME, run(&query, pool, &mut reply)).await;
    let last = match outcome.unwrap_or_else(|_| Err("it took too long".into())) {
        Ok(()) => "ok".to_owned(),
        Err(error) => format!("error: {}", words(&*error)),
    };
    reply.write_all(last.as_bytes()).await?;
    Ok(reply.shutdown().await?)
}

/// Sends each row as it arrives. PostgreSQL itself writes the JSON, whatever the columns are.
async fn run(query: &str, pool: &Pool, reply: &mut OwnedWriteHalf) -> Result {
    if query.len() as u64 == MAX_QUERY {
        return Err("the query is too long".into());
    }
    let connection = pool.get().await?;
    let query = format!("select row_to_json(row)::text from ({query}) as row");
    let rows = connection.query_raw(&query, [""; 0]).await?;
    pin_mut!(rows);
    while let Some(row) = rows.try_next().await? {
        let json: String = row.get(0);
        reply.write_all(format!("{json}\n").as_bytes()).await?;
    }
    Ok(())
}

/// An error with those causes that it does not name itself, on one line.
fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.contains(&more) {
            words += &format!(": {more}");
        }
        cause = error.source();
    }
    words.replace('\n', " ")
}
