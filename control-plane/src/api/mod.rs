//! The API for people and applications.

pub mod rest;
