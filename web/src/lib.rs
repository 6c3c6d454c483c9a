//! The browser client, embedded: the files that `make web` puts into `web/dist`, or a page that says so
//! where it was not run before the build.

/// One file of the page.
#[derive(Debug)]
pub struct Asset {
    /// Path on the server, as `/app.js`.
    pub path: &'static str,
    /// Content.
    pub bytes: &'static [u8],
    /// Value of the `content-type` header.
    pub content_type: &'static str,
    /// Value of the `etag` header, with its quotes; differs whenever the content does.
    pub etag: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The file at a request's path, which begins with a slash; `/` is the page itself.
/// Paths are compared as they are: nothing is decoded or resolved, so nothing outside the table can be named.
pub fn get(path: &str) -> Option<&'static Asset> {
    let path = if path == "/" { "/index.html" } else { path };
    let index = ASSETS.binary_search_by(|asset| asset.path.cmp(path)).ok()?;
    ASSETS.get(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_the_page() {
        let page = get("/").expect("there is always a page");
        assert_eq!(page.path, "/index.html");
        assert_eq!(page.content_type, "text/html; charset=utf-8");
        assert!(page.bytes.starts_with(b"<!doctype html>"));
    }

    #[test]
    fn every_file_is_found_by_its_path_and_has_a_tag() {
        for asset in ASSETS {
            assert!(std::ptr::eq(get(asset.path).expect("found"), asset), "{}", asset.path);
            assert!(asset.etag.starts_with('"') && asset.etag.ends_with('"'), "{}", asset.etag);
            assert_ne!(asset.content_type, "application/octet-stream", "unknown type of {}", asset.path);
        }
    }

    #[test]
    fn what_the_page_refers_to_is_there() {
        let page = std::str::from_utf8(get("/").expect("page").bytes).expect("UTF-8");
        let references = page.split('"').filter(|text| text.starts_with('/'));
        for reference in references {
            assert!(get(reference).is_some(), "{reference} is missing");
        }
    }

    #[test]
    fn nothing_else_is_found() {
        for path in
            ["", "index.html", "/nothing", "/../Cargo.toml", "/%2e%2e/Cargo.toml", "//", "/index.html/"]
        {
            assert!(get(path).is_none(), "{path}");
        }
    }

    /// The page must work under a policy that allows no inline code and no other host's.
    #[test]
    fn the_page_has_no_inline_code_and_no_outside_reference() {
        let page = std::str::from_utf8(get("/").expect("page").bytes).expect("UTF-8");
        assert!(!page.contains("<style"), "inline style");
        assert!(!page.contains("style="), "inline style");
        assert!(!page.contains("src=\"http") && !page.contains("href=\"http"), "outside reference");
        assert!(page.matches("<script").count() == page.matches("<script type=\"module\" src=\"/").count());
    }
}
