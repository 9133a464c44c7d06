//! What the tests share: the cluster, a database each, raw connections and a way to wait.

use std::sync::OnceLock;
use std::time::Duration;

use millpond_sync::postgres::central::{Central, Enrolment, NewTenant, Plan, Tenant};
use millpond_sync::postgres::endpoint::Endpoint;
use millpond_sync::postgres::private::{PrivateServer, PrivateServerOptions};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use uuid::Uuid;

/// Bounds every call of a test.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The run's one cluster. Never dropped: its supervisor sees the process end.
pub(crate) fn cluster() -> &'static PrivateServer {
    static CLUSTER: OnceLock<PrivateServer> = OnceLock::new();
    CLUSTER.get_or_init(|| PrivateServer::start(&PrivateServerOptions::default()).unwrap())
}

/// Waits until `condition` holds, looking every 20 ms, and fails after `limit`.
pub(crate) async fn eventually(limit: Duration, condition: impl AsyncFn() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    tokio::time::timeout(limit, async {
        while !condition().await {
            ticks.tick().await;
        }
    })
    .await
    .expect("the condition did not come true in time");
}

/// A database of the test's own.
pub(crate) struct Database {
    pub(crate) url: String,
}

impl Database {
    pub(crate) async fn create() -> Self {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let admin = raw(&cluster().admin_url()).await;
        admin
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .unwrap();
        Self {
            url: cluster().url(&name),
        }
    }

    pub(crate) async fn central(&self) -> Central {
        Central::connect(&Endpoint::parse(&self.url).unwrap())
            .await
            .unwrap()
    }

    /// A superuser's connection.
    pub(crate) async fn superuser(&self) -> Client {
        raw(&self.url).await
    }

    /// A database that is set up, with one tenant.
    pub(crate) async fn with_tenant() -> (Self, Central, Tenant) {
        let database = Self::create().await;
        let central = database.central().await;
        central.init().await.unwrap();
        let tenant = central.create_tenant(&new_tenant("acme")).await.unwrap();
        (database, central, tenant)
    }
}

pub(crate) fn new_tenant(domain: &str) -> NewTenant {
    NewTenant {
        id: None,
        domain: domain.into(),
        name: domain.to_uppercase(),
        plan: Plan::Basic,
    }
}

pub(crate) async fn enroll(central: &Central, domain: &str, emails: &[&str]) -> Enrolment {
    let emails: Vec<String> = emails.iter().map(|email| (*email).to_owned()).collect();
    central.enroll(domain, &emails, None).await.unwrap()
}

/// A plain connection over TCP, without anything of ours in between.
pub(crate) async fn raw(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}

/// Runs a statement and returns its rows as text.
pub(crate) async fn rows(
    client: &Client,
    sql: &str,
) -> Result<Vec<Vec<Option<String>>>, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?;
    Ok(messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|n| row.get(n).map(str::to_owned))
                    .collect(),
            ),
            _ => None,
        })
        .collect())
}

/// The first value of the first row.
pub(crate) async fn scalar(client: &Client, sql: &str) -> String {
    rows(client, sql).await.unwrap()[0][0].clone().unwrap()
}

/// The SQLSTATE of a statement that must fail.
pub(crate) fn sqlstate<T>(result: Result<T, tokio_postgres::Error>) -> String {
    match result {
        Ok(_) => panic!("the statement was expected to fail"),
        Err(error) => error
            .code()
            .map_or_else(|| error.to_string(), |code| code.code().to_owned()),
    }
}
