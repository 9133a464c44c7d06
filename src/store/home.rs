//! Where Millpond keeps its files, and who may read them.
//!
//! ```text
//! HOME/registry.db            the tenants of this machine
//! HOME/registry.seen          what hooks asked of it, while it stands as it stood
//! HOME/tenants/UUID/tenant.db one tenant's rows; UUID is random, no name of a tenant reaches a path
//! HOME/secrets/UUID           an enrolment's secret, by the tenant's directory
//! HOME/spool/                 what a hook could not write
//! HOME/development            an empty mark: drafts may be tried here, and files reset without a question
//! ```
//! Invariants: directories are 0700 and owned by this user; new files are made with `O_EXCL` and 0600. Permissions are
//! changed by making a home alone, and only of a folder that is empty or holds a registry: any other folder that others
//! may enter is somebody's, and is refused as it is.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::Error;

/// The problem of a home whose folder is not 0700, as [`Error::NotOurs`] names it.
pub const OTHERS_MAY_ENTER: &str = "others may enter it";

/// The directory that holds everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::File {
        action,
        path: path.to_owned(),
        source,
    }
}

impl Home {
    /// The home at a given directory, which need not exist yet.
    #[must_use]
    pub const fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The platform's place for this user's data; `None` where the platform names none (no home directory).
    #[must_use]
    pub fn of_platform() -> Option<Self> {
        let directories = directories::ProjectDirs::from("", "", "millpond")?;
        Some(Self::at(directories.data_local_dir().to_owned()))
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The registry's file.
    #[must_use]
    pub fn registry_file(&self) -> PathBuf {
        self.root.join("registry.db")
    }

    /// The folder of what hooks could not write.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }

    /// Whether the home is marked for development: nothing in it counts.
    #[must_use]
    pub fn is_development(&self) -> bool {
        self.root.join("development").exists()
    }

    /// Marks the home for development, making it where there is none.
    ///
    /// # Errors
    /// [`Error::NotOurs`] where another user owns the home, and what the file system says.
    pub fn mark_development(&self) -> Result<(), Error> {
        self.create()?;
        let mark = self.root.join("development");
        match create_new(&mark) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                Err(failed("write", &mark)(source))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a home that is not marked for development.
    pub(crate) fn check_development(&self) -> Result<(), Error> {
        if self.is_development() {
            return Ok(());
        }
        Err(Error::NotDevelopment {
            path: self.root.clone(),
        })
    }

    /// Whether a tenant was ever made here.
    pub(crate) fn has_tenants(&self) -> bool {
        self.root.join("tenants").exists()
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        self.root.join("registry.lock")
    }

    pub(crate) fn tenant_file(&self, directory: Uuid) -> PathBuf {
        self.tenant_directory(directory).join("tenant.db")
    }

    pub(crate) fn tenant_lock(&self, directory: Uuid, name: &str) -> PathBuf {
        self.tenant_directory(directory)
            .join(format!("{name}.lock"))
    }

    pub(crate) fn secret_file(&self, directory: Uuid) -> PathBuf {
        self.root.join("secrets").join(directory.to_string())
    }

    fn tenant_directory(&self, directory: Uuid) -> PathBuf {
        self.root.join("tenants").join(directory.to_string())
    }

    /// Makes the home where there is none, and checks that it is private. Closes a folder that others may enter if it
    /// is empty (made by hand for this) or holds a registry (a home that came open).
    pub(crate) fn create(&self) -> Result<(), Error> {
        if !self.root.is_dir() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.root)
                .map_err(failed("create the directory", &self.root))?;
        }
        match self.check() {
            Err(Error::NotOurs {
                problem: OTHERS_MAY_ENTER,
                ..
            }) if self.is_for_us()? => {
                fs::set_permissions(&self.root, Permissions::from_mode(0o700))
                    .map_err(failed("make private the directory", &self.root))
            }
            other => other,
        }
    }

    fn is_for_us(&self) -> Result<bool, Error> {
        let mut entries =
            fs::read_dir(&self.root).map_err(failed("read the directory", &self.root))?;
        Ok(self.registry_file().is_file() || entries.next().is_none())
    }

    /// Checks that the home is there, and private to this user. Changes nothing.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let about = match fs::metadata(&self.root) {
            Ok(about) if about.is_dir() => about,
            Ok(_) => {
                return Err(Error::NoHome {
                    path: self.root.clone(),
                });
            }
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NoHome {
                    path: self.root.clone(),
                });
            }
            Err(source) => return Err(failed("read the directory", &self.root)(source)),
        };
        if about.uid() != rustix::process::geteuid().as_raw() {
            return Err(Error::NotOurs {
                path: self.root.clone(),
                problem: "another user owns it",
            });
        }
        if about.mode() & 0o077 != 0 {
            return Err(Error::NotOurs {
                path: self.root.clone(),
                problem: OTHERS_MAY_ENTER,
            });
        }
        Ok(())
    }

    pub(crate) fn create_tenant_directory(&self) -> Result<Uuid, Error> {
        let directory = Uuid::new_v4();
        let path = self.tenant_directory(directory);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(failed("create the directory", &path))?;
        Ok(directory)
    }

    /// Removes a tenant's directory that was never listed. A failure leaves litter that nothing reads.
    pub(crate) fn remove_tenant_directory(&self, directory: Uuid) {
        let path = self.tenant_directory(directory);
        if let Err(source) = fs::remove_dir_all(&path) {
            tracing::warn!(error = %source, "an unused tenant directory could not be removed");
        }
    }

    /// Writes an enrolment's secret to a 0600 file of its own, whole or not at all.
    pub(crate) fn write_secret(&self, directory: Uuid, secret: &str) -> Result<(), Error> {
        let path = self.secret_file(directory);
        let folder = self.root.join("secrets");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(failed("create the directory", &folder))?;
        let draft = folder.join(format!("{}.new", Uuid::new_v4()));
        let write = || -> io::Result<()> {
            let mut file = create_new(&draft)?;
            file.write_all(secret.as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(&folder)?.sync_all()
        };
        write().map_err(|source| {
            // The draft holds a secret: it must not stay behind. If it cannot go either, the first error says more.
            let _ = fs::remove_file(&draft);
            failed("write the secret", &path)(source)
        })
    }

    pub(crate) fn read_secret(&self, directory: Uuid) -> Result<String, Error> {
        let path = self.secret_file(directory);
        fs::read_to_string(&path).map_err(failed("read the secret", &path))
    }
}

/// Makes a file that must not exist yet, readable by this user alone.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// A lock between processes, held until it is dropped. The file stays: removing it would let two processes hold two.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    announced: Option<File>,
}

impl Drop for FileLock {
    /// Closing would do, but for a child process that has not yet let go of what it was born with.
    fn drop(&mut self) {
        for file in self.announced.iter().chain([&self.file]) {
            if let Err(source) = file.unlock() {
                tracing::warn!(error = %source, "a lock is given back only by closing its file");
            }
        }
    }
}

impl FileLock {
    /// Waits for the lock.
    pub(crate) fn take(path: &Path) -> Result<Self, Error> {
        let file = Self::open(path)?;
        file.lock().map_err(failed("lock", path))?;
        Ok(Self::of(file))
    }

    const fn of(file: File) -> Self {
        Self {
            file,
            announced: None,
        }
    }

    /// Shows that the lock is held by a second file, which whoever wants to know may touch: asking about the first
    /// means holding it for a moment, and would turn away a process that tries to take it just then.
    pub(crate) fn announced_at(mut self, path: &Path) -> Result<Self, Error> {
        let file = Self::open(path)?;
        // Others hold this one only while they ask.
        file.lock().map_err(failed("lock", path))?;
        self.announced = Some(file);
        Ok(self)
    }

    /// Whether a process holds a lock that it has announced here.
    pub(crate) fn is_announced(path: &Path) -> Result<bool, Error> {
        match Self::open(path)?.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(failed("lock", path)(source)),
        }
    }

    /// Takes the lock if it is free.
    pub(crate) fn try_take(path: &Path, action: &'static str) -> Result<Self, Error> {
        let file = Self::open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self::of(file)),
            Err(TryLockError::WouldBlock) => Err(Error::Busy { action }),
            Err(TryLockError::Error(source)) => Err(failed("lock", path)(source)),
        }
    }

    fn open(path: &Path) -> Result<File, Error> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed("open the lock file", path))
    }
}
