//! A file system for tests that fails on demand.

use std::ffi::OsString;
use std::io::{self, Error};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use crate::journal::files::{AppendFile, Disk, Files, ReadFile};

/// The calls that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskCall {
    Open,
    Length,
    ReadAt,
    Create,
    Append,
    Sync,
    Truncate,
    Read,
    Replace,
    Overwrite,
    Remove,
    Rename,
    Link,
    List,
}

#[derive(Debug, Clone, Copy)]
pub enum DiskFault {
    Error(Errno),
    /// Limits the number of bytes that are read, or written before the disk is full.
    Short(usize),
}

#[derive(Debug)]
struct Rule {
    call: DiskCall,
    /// A substring of the file name.
    name: String,
    fault: DiskFault,
}

/// The disk, with injected faults.
#[derive(Debug, Clone, Default)]
pub struct FaultyFiles(Arc<Mutex<Vec<Rule>>>);

impl FaultyFiles {
    /// Makes a call fail for files whose name contains a text, until [`Self::heal`].
    pub fn fail(&self, call: DiskCall, name: &str, fault: DiskFault) {
        self.0.lock().unwrap().push(Rule {
            call,
            name: name.to_owned(),
            fault,
        });
    }

    pub fn heal(&self) {
        self.0.lock().unwrap().clear();
    }

    fn fault(&self, call: DiskCall, name: &str) -> Option<DiskFault> {
        let rules = self.0.lock().unwrap();
        rules
            .iter()
            .find(|rule| rule.call == call && name.contains(&rule.name))
            .map(|rule| rule.fault)
    }

    fn check(&self, call: DiskCall, path: &Path) -> io::Result<()> {
        self.check_name(call, &path.to_string_lossy())
    }

    fn check_name(&self, call: DiskCall, name: &str) -> io::Result<()> {
        match self.fault(call, name) {
            Some(DiskFault::Error(errno)) => Err(Error::from(errno)),
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
struct Faulty<F> {
    file: F,
    name: String,
    files: FaultyFiles,
}

impl Files for FaultyFiles {
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        self.check(DiskCall::Open, path)?;
        Ok(Box::new(Faulty {
            file: Disk.open(path)?,
            name: path.to_string_lossy().into_owned(),
            files: self.clone(),
        }))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        self.check(DiskCall::Create, path)?;
        Ok(Box::new(Faulty {
            file: Disk.create(path)?,
            name: path.to_string_lossy().into_owned(),
            files: self.clone(),
        }))
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        self.check(DiskCall::Length, path)?;
        Disk.length(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.check(DiskCall::Read, path)?;
        Disk.read(path)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.check(DiskCall::Replace, path)?;
        Disk.replace(path, bytes)
    }

    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.check(DiskCall::Overwrite, path)?;
        Disk.overwrite(path, bytes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(DiskCall::Remove, path)?;
        Disk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(DiskCall::Rename, from)?;
        Disk.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(DiskCall::Link, from)?;
        Disk.link(from, to)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        self.check(DiskCall::List, folder)?;
        Disk.list(folder)
    }
}

impl ReadFile for Faulty<Box<dyn ReadFile>> {
    fn length(&self) -> io::Result<u64> {
        self.files.check_name(DiskCall::Length, &self.name)?;
        self.file.length()
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.files.check_name(DiskCall::ReadAt, &self.name)?;
        match self.files.fault(DiskCall::ReadAt, &self.name) {
            Some(DiskFault::Short(length)) => {
                let length = length.min(bytes.len());
                self.file.read_at(&mut bytes[..length], offset)
            }
            _ => self.file.read_at(bytes, offset),
        }
    }
}

impl AppendFile for Faulty<Box<dyn AppendFile>> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.files.check_name(DiskCall::Append, &self.name)?;
        match self.files.fault(DiskCall::Append, &self.name) {
            Some(DiskFault::Short(length)) if length < bytes.len() => {
                self.file.append(&bytes[..length])?;
                Err(Error::from(Errno::NOSPC))
            }
            _ => self.file.append(bytes),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.files.check_name(DiskCall::Sync, &self.name)?;
        self.file.sync()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.files.check_name(DiskCall::Truncate, &self.name)?;
        self.file.truncate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.files.check_name(DiskCall::Length, &self.name)?;
        self.file.length()
    }
}
