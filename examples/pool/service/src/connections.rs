//! How the pool opens a connection, and how it knows one that is of no more use.

use std::io;
use std::net::TcpStream;

use deadpool::managed::{self, BuildError, Manager, Metrics, RecycleError, RecycleResult};
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

pub type Pool = managed::Pool<Postgres>;

pub struct Postgres(Config);

/// Opens connections when they are needed, so many at most, and keeps them.
pub fn pool(mut database: Config, size: usize) -> Result<Pool, BuildError> {
    // PostgreSQL's own clock: a query given up by this side alone would go on, on a connection that
    // the next one needs.
    database.options("-c statement_timeout=10s");
    Pool::builder(Postgres(database)).max_size(size).build()
}

impl Manager for Postgres {
    type Type = Client;
    type Error = io::Error;

    async fn create(&self) -> Result<Client, Self::Error> {
        let stream = tokio::net::TcpStream::from_std(connect(&self.0)?)?;
        let connected = self.0.connect_raw(stream, NoTls).await;
        let (client, connection) = connected.map_err(io::Error::other)?;
        // Ends with the client, or when PostgreSQL closes it.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                println!("connection: {error}");
            }
        });
        Ok(client)
    }

    async fn recycle(&self, client: &mut Client, _: &Metrics) -> RecycleResult<Self::Error> {
        if client.is_closed() {
            return Err(RecycleError::message("PostgreSQL closed it"));
        }
        Ok(())
    }
}

/// With `std`, for it resolves names: tokio would need a thread for that, and WASI 0.2 has none.
fn connect(database: &Config) -> io::Result<TcpStream> {
    let (Some(Host::Tcp(host)), port) = (database.get_hosts().first(), database.get_ports()) else {
        return Err(io::Error::other("DATABASE_URL names no host"));
    };
    let address = (host.as_str(), port.first().copied().unwrap_or(5432));
    let stream = TcpStream::connect(address)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}
