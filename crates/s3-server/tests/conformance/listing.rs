//! Listing objects.

use anyhow::{Result, ensure};

use crate::store::Store;

pub async fn pages_in_key_order(s: &Store) -> Result<()> {
    let mut keys: Vec<_> = (0..25).map(|n| format!("pages/{:02}", n * 7 % 25)).collect();
    for key in &keys {
        s.put(key, key.as_bytes()).await?;
    }
    s.put("pages-not", b"").await?;
    keys.sort();

    let (mut listed, mut pages, mut token) = (Vec::new(), 0, None);
    loop {
        let page = s.client.list_objects_v2().bucket(&s.bucket).prefix("pages/").max_keys(10);
        let page = page.set_continuation_token(token).send().await?;
        pages += 1;
        listed.extend(page.contents().iter().filter_map(|o| o.key().map(str::to_owned)));
        ensure!(page.contents().iter().all(|o| o.size() == Some(8) && o.e_tag().is_some()));
        if !page.is_truncated().unwrap_or(false) {
            break;
        }
        token = page.next_continuation_token().map(str::to_owned);
    }
    ensure!(listed == keys, "{listed:?}");
    ensure!(pages == 3, "{pages} pages");

    let after = s.client.list_objects_v2().bucket(&s.bucket).prefix("pages/").start_after("pages/22");
    let after: Vec<_> =
        after.send().await?.contents().iter().filter_map(|o| o.key().map(str::to_owned)).collect();
    ensure!(after == ["pages/23", "pages/24"], "{after:?}");
    Ok(())
}

pub async fn folders_by_delimiter(s: &Store) -> Result<()> {
    for key in ["tree/a/1", "tree/a/2", "tree/b/c/1", "tree/d", "tree/e/1", "tree/f"] {
        s.put(key, b"x").await?;
    }
    let (mut files, mut folders, mut token) = (Vec::new(), Vec::new(), None);
    for _ in 0..10 {
        let page = s.client.list_objects_v2().bucket(&s.bucket).prefix("tree/").delimiter("/").max_keys(2);
        let page = page.set_continuation_token(token).send().await?;
        files.extend(page.contents().iter().filter_map(|o| o.key().map(str::to_owned)));
        folders.extend(page.common_prefixes().iter().filter_map(|p| p.prefix().map(str::to_owned)));
        ensure!(page.contents().len() + page.common_prefixes().len() <= 2);
        if !page.is_truncated().unwrap_or(false) {
            break;
        }
        token = page.next_continuation_token().map(str::to_owned);
    }
    ensure!(files == ["tree/d", "tree/f"], "{files:?}");
    ensure!(folders == ["tree/a/", "tree/b/", "tree/e/"], "{folders:?}");
    Ok(())
}
