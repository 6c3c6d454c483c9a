//! The whole system as its users see it: the real program, as one process and as five, driven by its own client.

mod dependencies;
mod edge;
mod end_to_end;
mod faults;
mod hostile;
mod operator;
mod page;
mod programs;
mod restore;
mod startup;
mod support;
mod webvtt;
