//! The browser client, embedded in the binary: the files of `web/dist`, which `make web` builds, or a placeholder
//! page if they were missing at build time.

/// One file of the page.
#[derive(Debug)]
pub struct Asset {
    /// URL path, such as `/app.js`.
    pub path: &'static str,
    /// Content.
    pub bytes: &'static [u8],
    /// Value of the `content-type` header.
    pub content_type: &'static str,
    /// Value of the `etag` header, quotes included. A hash of the content.
    pub etag: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// Returns the file at a URL path, which starts with a slash; `/` is `/index.html`. Paths are compared byte by byte,
/// without decoding or resolving, so nothing outside the table can be reached.
pub fn get(path: &str) -> Option<&'static Asset> {
    let path = if path == "/" { "/index.html" } else { path };
    let index = ASSETS.binary_search_by(|asset| asset.path.cmp(path)).ok()?;
    ASSETS.get(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn get_root_returns_index_html() {
        let page = get("/").expect("there is always a page");
        assert_eq!(page.path, "/index.html");
        assert_eq!(page.content_type, "text/html; charset=utf-8");
        assert!(page.bytes.starts_with(b"<!doctype html>"));
    }

    #[test]
    fn get_asset_path_returns_asset_with_etag_and_content_type() {
        for asset in ASSETS {
            assert!(std::ptr::eq(get(asset.path).expect("found"), asset), "{}", asset.path);
            assert!(asset.etag.starts_with('"') && asset.etag.ends_with('"'), "{}", asset.etag);
            assert_ne!(asset.content_type, "application/octet-stream", "unknown type of {}", asset.path);
        }
    }

    #[test]
    fn index_html_references_exist() {
        let page = std::str::from_utf8(get("/").expect("page").bytes).expect("UTF-8");
        let references = page.split('"').filter(|text| text.starts_with('/'));
        for reference in references {
            assert!(get(reference).is_some(), "{reference} is missing");
        }
    }

    #[test]
    fn get_unknown_path_returns_none() {
        for path in
            ["", "index.html", "/nothing", "/../Cargo.toml", "/%2e%2e/Cargo.toml", "//", "/index.html/"]
        {
            assert!(get(path).is_none(), "{path}");
        }
    }

    /// Required by the page's Content-Security-Policy.
    #[test]
    fn index_html_has_no_inline_code_and_no_external_reference() {
        let page = std::str::from_utf8(get("/").expect("page").bytes).expect("UTF-8");
        assert!(!page.contains("<style"), "inline style");
        assert!(!page.contains("style="), "inline style");
        assert!(!page.contains("src=\"http") && !page.contains("href=\"http"), "external reference");
        assert!(page.matches("<script").count() == page.matches("<script type=\"module\" src=\"/").count());
    }
}
