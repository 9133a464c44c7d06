//! What the tests share: the cluster and a way to wait.

use std::sync::OnceLock;
use std::time::Duration;

use millpond_sync::postgres::private::{PrivateServer, PrivateServerOptions};

/// Bounds every call of a test.
pub const LIMIT: Duration = Duration::from_secs(30);

/// The run's one cluster. Never dropped: its supervisor sees the process end.
pub fn cluster() -> &'static PrivateServer {
    static CLUSTER: OnceLock<PrivateServer> = OnceLock::new();
    CLUSTER.get_or_init(|| PrivateServer::start(&PrivateServerOptions::default()).unwrap())
}

/// Waits until `condition` holds, looking every 20 ms, and fails after `limit`.
pub async fn eventually(limit: Duration, condition: impl AsyncFn() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    tokio::time::timeout(limit, async {
        while !condition().await {
            ticks.tick().await;
        }
    })
    .await
    .expect("the condition did not come true in time");
}
