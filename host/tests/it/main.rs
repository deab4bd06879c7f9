//! The broker from outside: the real program, real sandboxes, real plugins.

mod cleanup;
mod hostile;
mod reload;
mod support;
mod terminal;
