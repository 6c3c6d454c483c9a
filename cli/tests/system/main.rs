//! The whole system as its users meet it: the real program, together in one process and apart in five,
//! driven by its own client.

mod client;
mod faults;
mod hostile;
mod page;
mod playlists;
mod sandbox;
mod shape;
mod startup;
mod story;
