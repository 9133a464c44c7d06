//! A device with something to push, and what the server then holds.

use millpond_sync::change::Batch;
use millpond_sync::fault::RemoteError;
use millpond_sync::port::{Offer, Receipt, Remote};
use millpond_sync::postgres::central::Enrolment;
use millpond_sync::postgres::endpoint::Endpoint;
use millpond_sync::postgres::push::PostgresRemote;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::{Database, enroll, scalar};

/// A database with one tenant, an enrolled device and its remote.
pub(crate) struct Bench {
    _database: Database,
    pub(crate) superuser: Client,
    pub(crate) ada: Enrolment,
    pub(crate) remote: PostgresRemote,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let (database, central, _) = Database::with_tenant().await;
        let ada = enroll(&central, "acme", &["ada@acme.dev"]).await;
        let superuser = database.superuser().await;
        let remote = remote(&ada);
        Self {
            _database: database,
            superuser,
            ada,
            remote,
        }
    }

    pub(crate) fn user(&self) -> Uuid {
        self.ada.users[0].id
    }

    pub(crate) async fn offer(&mut self, batch: &Batch) -> Result<Offer, RemoteError> {
        self.remote.offer(batch).await
    }

    /// Offers and commits a batch that must be applied.
    pub(crate) async fn push(&mut self, batch: &Batch) -> Receipt {
        let Offer::Applied(receipt) = self.remote.offer(batch).await.unwrap() else {
            panic!("the batch was not applied")
        };
        self.remote.commit().await.unwrap();
        receipt
    }

    pub(crate) async fn count(&self, table: &str) -> usize {
        let sql = format!("SELECT count(*) FROM {}.{table}", self.ada.schema_name);
        scalar(&self.superuser, &sql).await.parse().unwrap()
    }

    pub(crate) async fn value(&self, table: &str, column: &str, id: Uuid) -> String {
        let schema = &self.ada.schema_name;
        scalar(
            &self.superuser,
            &format!("SELECT {column} FROM {schema}.{table} WHERE id = '{id}'"),
        )
        .await
    }
}

pub(crate) fn remote(enrolment: &Enrolment) -> PostgresRemote {
    PostgresRemote::new(
        Endpoint::parse(&enrolment.url).unwrap(),
        &enrolment.schema_name,
    )
}

pub(crate) fn applied(rows: usize) -> Receipt {
    Receipt {
        applied: rows,
        ..Receipt::default()
    }
}
