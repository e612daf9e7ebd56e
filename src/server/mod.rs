//! Listeners, mutual TLS and shutdown: where peers come in.

pub mod listener;
