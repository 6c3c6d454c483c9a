//! Listings: objects, multipart uploads, and the parts of an upload, page by page.

mod objects;
mod paging;
mod parts;
mod uploads;

pub(crate) use objects::{objects_v1, objects_v2};
pub(crate) use paging::page_size;
pub(crate) use parts::parts;
pub(crate) use uploads::uploads;
