//! Where a server is and how it must be reached: a parsed `postgresql://` URL.
//!
//! Purpose: decides, before any connection, whether TLS is needed. Pure but for reading `sslrootcert`. Invariants:
//! off loopback TLS with full verification is the rule, whatever the URL's `sslmode` says, unless the URL says
//! `sslmode=disable&millpond_insecure=plaintext` in so many words; neither Debug nor Display shows a password.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// Longest wait for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence after which the network is probed, and how long sent data may stay unacknowledged.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a URL was refused. None of them shows the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It does not start with `postgresql://` or `postgres://`.
    #[error("the database URL does not start with postgresql://")]
    NotPostgres,
    /// The client library cannot read it.
    #[error("the database URL is malformed")]
    Malformed,
    /// It names no host.
    #[error("the database URL names no host")]
    NoHost,
    /// It names no user.
    #[error("the database URL names no user")]
    NoUser,
    /// Its `sslmode` is none of `disable`, `prefer`, `require`, `verify-ca`, `verify-full`.
    #[error("the database URL has an unknown sslmode")]
    UnknownSslMode,
    /// It asks for plain text to a server that is not on this machine.
    #[error("the database URL turns TLS off for a server that is not on this machine")]
    PlaintextOffLoopback,
}

/// A text that neither Debug nor Display shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that must have it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// How the connection is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Protection {
    /// Nothing but the machine's own loopback, or the URL's explicit word.
    Plain,
    /// TLS; certificate chain and host name are verified.
    Tls {
        /// A file of further root certificates.
        root_certificates: Option<PathBuf>,
    },
}

/// A server, a database and a login.
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) config: Config,
    pub(crate) protection: Protection,
    password: Option<Secret>,
}

impl Endpoint {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`EndpointError`] where it is malformed, or asks for plain text to another machine.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let endpoint = Self::parse_location(url)?;
        if endpoint.user().is_empty() {
            Err(EndpointError::NoUser)
        } else {
            Ok(endpoint)
        }
    }

    /// Reads a URL that need not name a user: where devices find the server, as an admin gives it.
    ///
    /// # Errors
    /// As [`Endpoint::parse`], but for the user.
    pub fn parse_location(url: &str) -> Result<Self, EndpointError> {
        if !url.starts_with("postgresql://") && !url.starts_with("postgres://") {
            return Err(EndpointError::NotPostgres);
        }
        let query = Query::split(url);
        let mut config = Config::from_str(&query.rest).map_err(|_| EndpointError::Malformed)?;
        if config.get_hosts().is_empty() {
            return Err(EndpointError::NoHost);
        }
        let protection = query.protection(&config)?;
        config
            .ssl_mode(match protection {
                Protection::Plain => SslMode::Disable,
                Protection::Tls { .. } => SslMode::Require,
            })
            .application_name("millpond")
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .tcp_user_timeout(TCP_USER_TIMEOUT);
        let password = config
            .get_password()
            .map(|bytes| Secret::new(String::from_utf8_lossy(bytes)));
        Ok(Self {
            config,
            protection,
            password,
        })
    }

    /// The same server with another database.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        let mut other = self.clone();
        other.config.dbname(database);
        other
    }

    /// The login's name.
    #[must_use]
    pub fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    /// The database's name; the login's where the URL gives none, as the server does it.
    #[must_use]
    pub fn database(&self) -> &str {
        self.config.get_dbname().unwrap_or_else(|| self.user())
    }

    /// `host:port` of the first server.
    #[must_use]
    pub fn host_and_port(&self) -> String {
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) if name.contains(':') => format!("[{name}]:{port}"),
            Some(Host::Tcp(name)) => format!("{name}:{port}"),
            // A socket is a matter of this machine: the loopback address leads to the same server.
            Some(Host::Unix(_)) | None => format!("127.0.0.1:{port}"),
        }
    }

    /// Whether the server is on this machine, so that no TLS is needed.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.config)
    }

    /// The URL of another login on this server, and of `database` where this one names none. Holds the password.
    #[must_use]
    pub fn url_for(&self, user: &str, password: &Secret, database: &str) -> String {
        let database = self.config.get_dbname().unwrap_or(database);
        let protection = match (&self.protection, self.is_loopback()) {
            (Protection::Tls { .. }, _) => "sslmode=verify-full",
            (Protection::Plain, true) => "sslmode=disable",
            (Protection::Plain, false) => "sslmode=disable&millpond_insecure=plaintext",
        };
        format!(
            "postgresql://{}:{}@{}/{}?{protection}",
            percent_encoded(user),
            percent_encoded(password.expose()),
            self.host_and_port(),
            percent_encoded(database),
        )
    }

    /// The password, where the URL has one.
    #[must_use]
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Endpoint({}@{}/{})",
            self.user(),
            self.host_and_port(),
            self.database()
        )
    }
}

/// The parameters that are ours to read, and the URL without them.
struct Query {
    rest: String,
    ssl_mode: Option<String>,
    root_certificates: Option<PathBuf>,
    plaintext: bool,
}

impl Query {
    fn split(url: &str) -> Self {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut parts = Self {
            rest: base.to_owned(),
            ssl_mode: None,
            root_certificates: None,
            plaintext: false,
        };
        let mut kept = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => parts.ssl_mode = Some(value.to_owned()),
                Some(("sslrootcert", value)) => parts.root_certificates = Some(value.into()),
                Some(("millpond_insecure", value)) => parts.plaintext = value == "plaintext",
                _ => kept.push(pair),
            }
        }
        if !kept.is_empty() {
            parts.rest = format!("{base}?{}", kept.join("&"));
        }
        parts
    }

    fn protection(self, config: &Config) -> Result<Protection, EndpointError> {
        let local = is_loopback(config);
        let tls = Protection::Tls {
            root_certificates: self.root_certificates,
        };
        match self.ssl_mode.as_deref() {
            None | Some("allow" | "prefer") if local => Ok(Protection::Plain),
            None | Some("allow" | "prefer" | "require" | "verify-ca" | "verify-full") => Ok(tls),
            Some("disable") if local || self.plaintext => Ok(Protection::Plain),
            Some("disable") => Err(EndpointError::PlaintextOffLoopback),
            Some(_) => Err(EndpointError::UnknownSslMode),
        }
    }
}

/// Encodes all but RFC 3986's unreserved characters.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// True where every address is this machine's own. `hostaddr` counts too: it is where the bytes go.
fn is_loopback(config: &Config) -> bool {
    let hosts = config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost"
                || IpAddr::from_str(name).is_ok_and(|address| address.to_canonical().is_loopback())
        }
    });
    hosts
        && config
            .get_hostaddrs()
            .iter()
            .all(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, EndpointError, Protection, Secret};

    fn protection(url: &str) -> Result<Protection, EndpointError> {
        Endpoint::parse(url).map(|endpoint| endpoint.protection)
    }

    #[test]
    fn loopback_may_be_plain_and_everything_else_is_verified() {
        for url in [
            "postgresql://u:p@127.0.0.1:5432/d",
            "postgresql://u@localhost/d?sslmode=prefer",
            "postgresql://u@[::1]/d?sslmode=disable",
            "postgresql://u@%2Frun%2Fpostgresql/d",
        ] {
            assert_eq!(protection(url).unwrap(), Protection::Plain, "{url}");
        }
        for url in [
            "postgresql://u@db.example/d",
            "postgresql://u@db.example/d?sslmode=prefer",
            "postgresql://u@127.0.0.1/d?sslmode=verify-full",
            "postgresql://u@localhost,db.example/d",
            "postgresql://u@localhost/d?hostaddr=192.0.2.1",
        ] {
            assert!(
                matches!(protection(url).unwrap(), Protection::Tls { .. }),
                "{url}"
            );
        }
    }

    #[test]
    fn plain_text_to_another_machine_must_be_asked_for_in_words() {
        assert!(matches!(
            protection("postgresql://u@db.example/d?sslmode=disable"),
            Err(EndpointError::PlaintextOffLoopback)
        ));
        assert_eq!(
            protection("postgresql://u@db.example/d?sslmode=disable&millpond_insecure=plaintext")
                .unwrap(),
            Protection::Plain
        );
        assert!(matches!(
            protection("postgresql://u@db.example/d?sslmode=sometimes"),
            Err(EndpointError::UnknownSslMode)
        ));
    }

    #[test]
    fn a_password_is_shown_nowhere() {
        let endpoint = Endpoint::parse("postgresql://ada:hunter2@127.0.0.1/d").unwrap();
        assert_eq!(format!("{endpoint:?}"), "Endpoint(ada@127.0.0.1:5432/d)");
        assert!(
            !format!("{:?} {}", endpoint.password(), endpoint.password().unwrap())
                .contains("hunter2")
        );
        let error = Endpoint::parse("postgresql://ada:hunter2@:x:y/d?wrong").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn a_url_without_host_or_user_is_refused() {
        assert!(matches!(
            Endpoint::parse("mysql://u@h/d"),
            Err(EndpointError::NotPostgres)
        ));
        assert!(matches!(
            Endpoint::parse("postgresql:///d"),
            Err(EndpointError::NoHost)
        ));
        assert!(matches!(
            Endpoint::parse("postgresql://h/d"),
            Err(EndpointError::NoUser)
        ));
    }

    #[test]
    fn a_device_gets_the_way_of_the_admin_and_nothing_of_his_login() {
        let secret = Secret::new("s3/cret");
        let url = |of: &str| {
            Endpoint::parse_location(of)
                .unwrap()
                .url_for("dv_1", &secret, "main db")
        };
        assert_eq!(
            url("postgresql://root:pw@127.0.0.1:5433/d?options=-cx%3Dy"),
            "postgresql://dv_1:s3%2Fcret@127.0.0.1:5433/d?sslmode=disable"
        );
        assert_eq!(
            url("postgresql://db.example?user=root&password=pw"),
            "postgresql://dv_1:s3%2Fcret@db.example:5432/main%20db?sslmode=verify-full"
        );
        assert_eq!(
            url("postgresql://root@db.example/d?sslmode=disable&millpond_insecure=plaintext"),
            "postgresql://dv_1:s3%2Fcret@db.example:5432/d?sslmode=disable&millpond_insecure=plaintext"
        );
    }
}
