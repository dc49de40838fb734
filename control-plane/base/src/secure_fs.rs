//! Files that only their owner can read, and random bytes.

use std::io::Write as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};

/// Returns an error if a file is readable by others.
pub fn ensure(path: &Path) -> anyhow::Result<()> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    ensure!(
        mode & 0o077 == 0,
        "{0} can be read by others; run `chmod 600 {0}`",
        path.display()
    );
    Ok(())
}

/// Sets the umask: all files and folders made by this process and its children are for their owner
/// only.
pub fn restrict_new_files() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}

/// Creates a folder and its parents, for their owner only. An existing one stays as it is.
pub fn create_dir(path: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("the folder {} can't be created", path.display()))
}

/// Removes the access of others to one of our folders and everything in it: an earlier version left
/// it readable. Errors are logged, and links out of the folder are not followed.
pub fn tighten_dir(folder: &Path) {
    let Ok(metadata) = std::fs::symlink_metadata(folder) else {
        return;
    };
    // A system folder such as /tmp is not ours to close.
    let is_ours =
        metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o1000 == 0;
    if !metadata.is_dir() || !is_ours {
        tracing::warn!(
            "{} is not this user's own folder; keep others from reading it",
            folder.display()
        );
        return;
    }
    tighten(folder);
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => tighten_dir(&entry.path()),
            Ok(kind) if kind.is_file() => tighten(&entry.path()),
            _ => {}
        }
    }
}

/// Removes the access of others to a file, or to a folder but not its content. A missing file or a
/// link is left alone.
pub fn tighten(path: &Path) {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return;
    };
    let mode = metadata.permissions().mode();
    if metadata.is_symlink() || mode & 0o077 == 0 {
        return;
    }
    let closed = std::fs::Permissions::from_mode(mode & 0o700);
    match std::fs::set_permissions(path, closed) {
        Ok(()) => tracing::info!(
            "{} was readable by others; now it is readable only by its owner",
            path.display()
        ),
        Err(error) => tracing::warn!(
            "{} is readable by others, and its permissions can't be changed: {error}",
            path.display()
        ),
    }
}

pub fn write(path: &Path, bytes: &[u8], may_exist: bool) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).mode(0o600);
    if may_exist {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let mut file = options
        .open(path)
        .with_context(|| format!("{} can't be written", path.display()))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(())
}

/// Creates a file unless it exists. If several processes try at once, the first one's bytes stay,
/// and none of them ever reads half a file.
pub fn create_once(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let name = u64::from_ne_bytes(random()?);
    let draft = path.with_extension(format!("{name:016x}.new"));
    write(&draft, bytes, false)?;
    let created = match std::fs::hard_link(&draft, path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        // Some file systems have no links.
        Err(_) => std::fs::rename(&draft, path),
    };
    if draft.exists() {
        std::fs::remove_file(&draft)?;
    }
    created.with_context(|| format!("{} can't be written", path.display()))
}

/// Opens or creates a lock file.
pub fn lock_file(path: &Path) -> anyhow::Result<std::fs::File> {
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{} can't be written", path.display()))
}

/// Replaces a file atomically, so that a crash never leaves half of one.
pub fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let draft = path.with_extension("new");
    write(&draft, bytes, true)?;
    std::fs::rename(&draft, path).with_context(|| format!("{} can't be written", path.display()))
}

/// Returns unguessable bytes.
pub fn random<const LENGTH: usize>() -> anyhow::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    if filled != LENGTH {
        bail!("the system returned too few random bytes");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path)
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    }

    #[test]
    fn what_others_could_read_is_taken_from_them() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let journal = folder.path().join("journal");
        std::fs::create_dir(&journal).unwrap();
        let (database, segment) = (folder.path().join("opentracy.db"), journal.join("1.log"));
        for file in [&database, &segment] {
            std::fs::write(file, "x").unwrap();
            open(file, 0o644);
        }
        open(outside.path(), 0o644);
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
        open(&journal, 0o755);
        open(folder.path(), 0o755);
        tighten_dir(folder.path());
        assert_eq!((mode(folder.path()), mode(&journal)), (0o700, 0o700));
        assert_eq!((mode(&database), mode(&segment)), (0o600, 0o600));
        assert_eq!(mode(outside.path()), 0o644, "links lead out of the folder");
    }

    #[test]
    fn a_new_folder_is_its_owners_only() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        create_dir(&inner).unwrap();
        assert_eq!(
            (mode(&inner), mode(&folder.path().join("a"))),
            (0o700, 0o700)
        );
    }
}
