//! Downloads files that the Hub stores in Xet, with its official client. Knows neither caches nor conditions, and verifies
//! nothing: the official client checks sizes only, so the receiver must hash the bytes.

mod access;
mod body;
mod failure;
mod files;
mod runtime;
mod session;
mod settings;

pub use body::XetBody;
pub use files::XetFiles;
