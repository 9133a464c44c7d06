//! Serves a tenant's users over HTTP: the tenant's handle comes from the path, and reaches no other tenant.
#![allow(clippy::print_stdout)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use anyhow::Result;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use millpond::domain::tenant::Domain;
use millpond::domain::units::Timestamp;
use millpond::domain::user::User;
use millpond::seed::{SeedOptions, seed};
use millpond::store::{Error, Home, Store};

type Refused = (StatusCode, String);

fn refused(error: &Error) -> Refused {
    let status = match error.kind() {
        "not_found" => StatusCode::NOT_FOUND,
        "invalid" => StatusCode::BAD_REQUEST,
        "busy" | "pool" | "timed_out" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string())
}

fn users_of(store: &Store, tenant: &str) -> Result<Vec<User>, Error> {
    let tenant = store.tenant(&Domain::parse(tenant)?)?;
    tenant.read(|r| r.users().list())
}

async fn users(
    State(store): State<Arc<Store>>,
    Path(tenant): Path<String>,
) -> Result<Json<Vec<User>>, Refused> {
    // SQLite blocks: not on the threads that serve.
    let read = tokio::task::spawn_blocking(move || users_of(&store, &tenant)).await;
    let read = read.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    read.map(Json).map_err(|error| refused(&error))
}

/// The answer as it comes over the line.
fn ask(address: SocketAddr, tenant: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    let head = "Host: localhost\r\nConnection: close\r\n\r\n";
    write!(stream, "GET /api/v1/{tenant}/users HTTP/1.1\r\n{head}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = Store::init(Home::at(folder.path().join("home")))?;
    let until = Timestamp::parse("2026-01-31T00:00:00Z")?;
    seed(&store, &SeedOptions::new(1, until)?.with_days(1)?, |_| ())?;

    let route = get(users);
    let app = Router::new()
        .route("/api/v1/{tenant}/users", route)
        .with_state(Arc::new(store));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    for tenant in ["alder", "ghost"] {
        let answer = tokio::task::spawn_blocking(move || ask(address, tenant)).await??;
        println!("{tenant}: {answer}");
    }
    server.abort();
    Ok(())
}
