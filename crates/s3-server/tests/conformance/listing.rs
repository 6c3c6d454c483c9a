//! ListObjectsV2.

use anyhow::{Result, ensure};
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use rstest::rstest;

use crate::support::Backend;

fn keys(page: &ListObjectsV2Output) -> impl Iterator<Item = String> {
    page.contents().iter().filter_map(|object| object.key().map(str::to_owned))
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn list_objects_returns_pages_in_key_order(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    let mut put: Vec<_> = (0..25).map(|n| format!("pages/{:02}", n * 7 % 25)).collect();
    for key in &put {
        store.put(key, key.as_bytes()).await?;
    }
    store.put("pages-not", b"").await?;
    put.sort();

    let (mut listed, mut pages, mut token) = (Vec::new(), 0, None);
    loop {
        let page = store.client.list_objects_v2().bucket(&store.bucket).prefix("pages/").max_keys(10);
        let page = page.set_continuation_token(token).send().await?;
        pages += 1;
        listed.extend(keys(&page));
        ensure!(page.contents().iter().all(|o| o.size() == Some(8) && o.e_tag().is_some()));
        if !page.is_truncated().unwrap_or(false) {
            break;
        }
        token = page.next_continuation_token().map(str::to_owned);
    }
    ensure!(listed == put, "{listed:?}");
    ensure!(pages == 3, "{pages} pages");
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn list_objects_start_after_returns_later_keys(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    for n in 20..25 {
        store.put(&format!("start-after/{n}"), b"x").await?;
    }
    let list = store.client.list_objects_v2().bucket(&store.bucket).prefix("start-after/");
    let listed: Vec<_> = keys(&list.start_after("start-after/22").send().await?).collect();
    ensure!(listed == ["start-after/23", "start-after/24"], "{listed:?}");
    Ok(())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn list_objects_with_delimiter_groups_common_prefixes(
    #[values(Backend::Embedded, Backend::SeaweedFs)] backend: Backend,
) -> Result<()> {
    let store = backend.start().await?;
    for key in ["tree/a/1", "tree/a/2", "tree/b/c/1", "tree/d", "tree/e/1", "tree/f"] {
        store.put(key, b"x").await?;
    }
    let (mut files, mut prefixes, mut token) = (Vec::new(), Vec::new(), None);
    for _ in 0..10 {
        let page = store.client.list_objects_v2().bucket(&store.bucket).prefix("tree/");
        let page = page.delimiter("/").max_keys(2).set_continuation_token(token).send().await?;
        files.extend(keys(&page));
        prefixes.extend(page.common_prefixes().iter().filter_map(|p| p.prefix().map(str::to_owned)));
        ensure!(page.contents().len() + page.common_prefixes().len() <= 2);
        if !page.is_truncated().unwrap_or(false) {
            break;
        }
        token = page.next_continuation_token().map(str::to_owned);
    }
    ensure!(files == ["tree/d", "tree/f"], "{files:?}");
    ensure!(prefixes == ["tree/a/", "tree/b/", "tree/e/"], "{prefixes:?}");
    Ok(())
}
