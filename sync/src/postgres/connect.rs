//! Connections, and what their failures mean.
//!
//! Purpose: the one place that opens a connection to PostgreSQL and turns the client library's errors into
//! [`RemoteError`]. Depends on [`super::endpoint`] and [`crate::fault`]. Invariants: every call ends within its
//! timeout; dropping a [`Connection`] ends its task; an error's text holds neither DETAIL nor, for a row's fault,
//! the server's own words, since both may quote a row.

use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Row, RowStream, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::endpoint::{Endpoint, Protection};
use crate::fault::{Fault, RemoteError, classify};

/// Longest wait for a connection, TLS and login included.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// An open connection and the task that drives it.
#[derive(Debug)]
pub struct Connection {
    client: Client,
    driver: JoinHandle<()>,
    limit: Duration,
}

/// A statement's parameters with their types, so that nothing is prepared by name.
pub(crate) type Params<'a> = [(&'a (dyn ToSql + Sync), Type)];

/// Connects; `limit` bounds every later call on the connection.
///
/// # Errors
/// [`Fault::Transient`] where the server cannot be reached, [`Fault::Login`] where it refuses the login,
/// [`Fault::Systemic`] where its certificate or its database is not what it should be.
pub async fn connect(endpoint: &Endpoint, limit: Duration) -> Result<Connection, RemoteError> {
    const ACTION: &str = "connect";
    let attempt = async {
        match &endpoint.protection {
            Protection::Plain => {
                let (client, connection) = endpoint
                    .config
                    .connect(NoTls)
                    .await
                    .map_err(|e| remote_error(ACTION, e))?;
                Ok(Connection {
                    client,
                    driver: drive(connection),
                    limit,
                })
            }
            Protection::Tls { root_certificates } => {
                let tls =
                    verified_tls(root_certificates.as_deref()).map_err(|source| RemoteError {
                        source: Some(source),
                        ..RemoteError::new(
                            ACTION,
                            Fault::Systemic,
                            "TLS cannot be set up on this machine",
                        )
                    })?;
                connect_tls(&endpoint.config, tls, limit)
                    .await
                    .map_err(|e| remote_error(ACTION, e))
            }
        }
    };
    let connected = timeout(CONNECT_LIMIT, attempt)
        .await
        .unwrap_or_else(|_| Err(timed_out(ACTION)));
    // A server that answers, but not as this login's database, is no fault of a row.
    connected.map_err(|error| match error.fault {
        Fault::Row | Fault::Unclear => RemoteError {
            fault: Fault::Systemic,
            ..error
        },
        _ => error,
    })
}

async fn connect_tls(
    config: &Config,
    tls: MakeRustlsConnect,
    limit: Duration,
) -> Result<Connection, tokio_postgres::Error> {
    let (client, connection) = config.connect(tls).await?;
    Ok(Connection {
        client,
        driver: drive(connection),
        limit,
    })
}

fn drive<S>(connection: tokio_postgres::Connection<Socket, S>) -> JoinHandle<()>
where
    S: tokio_postgres::tls::TlsStream + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        // Its error reaches the caller through the call that was under way.
        let _ = connection.await;
    })
}

/// TLS with chain and host name verified by the platform's roots (and `SSL_CERT_FILE`) and the given ones.
fn verified_tls(
    root_certificates: Option<&std::path::Path>,
) -> Result<MakeRustlsConnect, Box<dyn StdError + Send + Sync>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = match root_certificates {
        None => Verifier::new(Arc::clone(&provider))?,
        Some(path) => {
            let roots: Vec<CertificateDer<'static>> =
                CertificateDer::pem_file_iter(path)?.collect::<Result<_, _>>()?;
            Verifier::new_with_extra_roots(roots, Arc::clone(&provider))?
        }
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Whether the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The client itself, for a library that brings its own statements.
    pub(crate) fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Runs statements that return nothing, by the simple protocol.
    pub(crate) async fn batch(&self, action: &'static str, sql: &str) -> Result<(), RemoteError> {
        bounded(action, self.limit, self.client.batch_execute(sql)).await
    }

    /// Runs one unnamed statement and returns its rows.
    pub(crate) async fn query(
        &self,
        action: &'static str,
        sql: &str,
        params: &Params<'_>,
    ) -> Result<Vec<Row>, RemoteError> {
        bounded(action, self.limit, self.client.query_typed(sql, params)).await
    }

    /// Sends one unnamed statement; its rows come as they are read. For use within [`Connection::limited`].
    pub(crate) async fn raw(
        &self,
        sql: &str,
        params: &Params<'_>,
    ) -> Result<RowStream, tokio_postgres::Error> {
        let params = params.iter().map(|(value, of)| (*value, of.clone()));
        self.client.query_typed_raw(sql, params).await
    }

    /// Awaits work on this connection for as long as one call may take.
    pub(crate) async fn limited<T>(
        &self,
        action: &'static str,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, RemoteError> {
        bounded(action, self.limit, work).await
    }

    /// Runs one unnamed statement and returns how many rows it touched.
    pub(crate) async fn execute(
        &self,
        action: &'static str,
        sql: &str,
        params: &Params<'_>,
    ) -> Result<u64, RemoteError> {
        bounded(action, self.limit, self.client.execute_typed(sql, params)).await
    }
}

/// Awaits a call for at most `limit`.
async fn bounded<T>(
    action: &'static str,
    limit: Duration,
    call: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, RemoteError> {
    match timeout(limit, call).await {
        Ok(result) => result.map_err(|error| remote_error(action, error)),
        Err(_) => Err(timed_out(action)),
    }
}

fn timed_out(action: &'static str) -> RemoteError {
    RemoteError::new(
        action,
        Fault::Transient,
        "the server did not answer in time",
    )
}

/// Reads a value of a returned row by its place.
///
/// # Errors
/// [`Fault::Systemic`] where the column is missing or of another type: the programs disagree.
pub(crate) fn value<'a, T: tokio_postgres::types::FromSql<'a>>(
    action: &'static str,
    row: &'a Row,
    column: usize,
) -> Result<T, RemoteError> {
    row.try_get(column)
        .map_err(|error| remote_error(action, error))
}

/// Turns the client library's error into ours.
pub(crate) fn remote_error(action: &'static str, error: tokio_postgres::Error) -> RemoteError {
    let told = read_error(action, &error);
    // A server's error stays out of the chain: its DETAIL quotes the row.
    if told.sqlstate.is_some() {
        told
    } else {
        RemoteError {
            source: Some(Box::new(error)),
            ..told
        }
    }
}

/// What an error says, without the error itself as its source.
pub(crate) fn read_error(action: &'static str, error: &tokio_postgres::Error) -> RemoteError {
    if let Some(db) = error.as_db_error() {
        let sqlstate = db.code().code().to_owned();
        let fault = classify(&sqlstate);
        let message = match (fault, db.constraint(), db.column()) {
            (Fault::Row, Some(constraint), _) => format!("the row violates {constraint}"),
            (Fault::Row, None, Some(column)) => format!("the row's {column} is refused"),
            // The server's words for class 22 quote the value.
            (Fault::Row, None, None) => "a value is refused".to_owned(),
            _ => db.message().to_owned(),
        };
        return RemoteError {
            sqlstate: Some(sqlstate),
            ..RemoteError::new(action, fault, message)
        };
    }
    let (fault, message) = if error.is_closed() {
        (Fault::Transient, "the server closed the connection")
    } else {
        match causes(error) {
            Cause::Certificate => (Fault::Systemic, "the server's certificate is not trusted"),
            Cause::Network => (Fault::Transient, "the server cannot be reached"),
            Cause::Other => (
                Fault::Systemic,
                "the server and this program do not understand each other",
            ),
        }
    };
    RemoteError::new(action, fault, message)
}

enum Cause {
    Certificate,
    Network,
    Other,
}

/// Walks the chain of sources by type, never by text.
fn causes(error: &(dyn StdError + 'static)) -> Cause {
    let mut found = Cause::Other;
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = next {
        if current.is::<rustls::Error>() {
            return Cause::Certificate;
        }
        if let Some(io_error) = current.downcast_ref::<io::Error>() {
            found = Cause::Network;
            if io_error
                .get_ref()
                .is_some_and(<dyn StdError + Send + Sync>::is::<rustls::Error>)
            {
                return Cause::Certificate;
            }
        }
        next = current.source();
    }
    found
}
