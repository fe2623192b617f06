//! What holds for a person whatever happens to them; the world around them is simulated, without I/O.

mod denied;
mod laws;
mod orders;
mod random;
mod scenes;
mod world;
