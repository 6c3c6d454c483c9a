//! The schema.

use sea_orm_migration::prelude::*;

use super::revisions::SHARDS;

/// All migrations, in order.
pub(crate) struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(CreateTables)]
    }
}

impl reelmill_platform::database::Schema for Migrator {}

struct CreateTables;

impl MigrationName for CreateTables {
    fn name(&self) -> &str {
        "transcode_0001_create_tables"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateTables {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = [
            jobs(),
            renditions(),
            warnings(),
            tasks(),
            owner_shares(),
            workers(),
            dispatch_state(),
            plans(),
            outputs(),
            segment_parts(),
            manifests(),
            revision_counters(),
        ];
        for table in tables {
            manager.create_table(table).await?;
        }
        let indexes: [(&str, &str, &[&str]); 18] = [
            ("jobs", "jobs_by_owner", &["owner", "create_time", "id"]),
            ("jobs", "jobs_by_video", &["video"]),
            ("jobs", "jobs_by_revision", &["shard", "revision"]),
            ("jobs", "jobs_by_state", &["state", "owner"]),
            // Pages of running jobs.
            ("jobs", "jobs_by_state_and_id", &["state", "id"]),
            ("jobs", "jobs_by_start_time", &["start_time"]),
            ("jobs", "jobs_by_end_time", &["state", "end_time"]),
            ("jobs", "jobs_by_cleanup_time", &["cleanup_time"]),
            ("jobs", "jobs_by_unpublished_since", &["unpublished_since"]),
            ("job_renditions", "job_renditions_by_position", &["job_id", "position"]),
            ("tasks", "tasks_by_job", &["job_id"]),
            ("tasks", "tasks_by_lease_expire_time", &["state", "lease_expire_time"]),
            ("tasks", "tasks_by_ready_time", &["state", "ready_time"]),
            // The order in which workers lease tasks.
            (
                "tasks",
                "tasks_by_start",
                &["state", "class", "required_build", "virtual_start", "job_priority", "id"],
            ),
            ("tasks", "tasks_by_virtual_start", &["state", "class", "virtual_start"]),
            // The order in which the waiting tasks of an owner are queued.
            (
                "tasks",
                "tasks_by_owner",
                &[
                    "state",
                    "owner",
                    "class",
                    "ready_time",
                    "job_priority",
                    "stage",
                    "job_id",
                    "job_position",
                    "id",
                ],
            ),
            ("owner_shares", "owner_shares_by_virtual_finish", &["class", "virtual_finish"]),
            ("workers", "workers_by_last_seen_time", &["encoder_build", "last_seen_time"]),
        ];
        for (table, name, columns) in indexes {
            let mut index = Index::create();
            index.name(name).table(Alias::new(table));
            for column in columns {
                index.col(Alias::new(*column));
            }
            manager.create_index(index).await?;
        }
        let mut counters = Query::insert();
        counters
            .into_table(Alias::new("revision_counters"))
            .columns([Alias::new("shard"), Alias::new("revision")]);
        for shard in 0..SHARDS {
            counters.values_panic([shard.into(), 0_i64.into()]);
        }
        manager.execute(counters).await?;
        let dispatch_state = Query::insert()
            .into_table(Alias::new("dispatch_state"))
            .columns([Alias::new("id"), Alias::new("paused"), Alias::new("backlog_sweep_time")])
            .values_panic([1.into(), false.into(), 0_i64.into()])
            .to_owned();
        manager.execute(dispatch_state).await
    }
}

fn text(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.text();
    column
}

fn integer(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.integer();
    column
}

fn bigint(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.big_integer();
    column
}

fn double(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.double();
    column
}

fn boolean(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.boolean();
    column
}

fn binary(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.binary();
    column
}

fn json(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.json();
    column
}

fn blob(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.blob();
    column
}

/// A table of required and nullable columns with a primary key.
fn table(
    name: &'static str,
    required: impl IntoIterator<Item = ColumnDef>,
    nullable: impl IntoIterator<Item = ColumnDef>,
    key: &[&'static str],
) -> TableCreateStatement {
    let mut table = Table::create();
    table.table(Alias::new(name));
    for mut column in required {
        table.col(column.not_null());
    }
    for mut column in nullable {
        table.col(&mut column);
    }
    let mut primary_key = Index::create();
    for column in key {
        primary_key.col(Alias::new(*column));
    }
    table.primary_key(&mut primary_key);
    table
}

fn jobs() -> TableCreateStatement {
    let required = [
        text("id"),
        text("video"),
        text("owner"),
        text("request_id").unique_key().to_owned(),
        text("state"),
        integer("shard"),
        bigint("revision"),
        integer("generation"),
        integer("priority"),
        integer("replans"),
        boolean("planned"),
        integer("work_units"),
        integer("created_work_units"),
        json("folded_work_units"),
        bigint("create_time"),
        text("failure_reason"),
        text("failure_message"),
        text("waiting_reason"),
        text("waiting_message"),
        text("source_key"),
        bigint("source_size_bytes"),
        text("output_prefix"),
        double("progress_percent"),
        bigint("progress_frames"),
        bigint("progress_segments_ready"),
        text("progress_writer"),
        text("master_playlist_key"),
        text("dash_manifest_key"),
        text("thumbnails_key"),
        text("poster_key"),
        bigint("output_size_bytes"),
        text("publisher"),
        bigint("publisher_expire_time"),
    ];
    let nullable = [
        bigint("waiting_since"),
        bigint("start_time"),
        bigint("playable_time"),
        bigint("end_time"),
        text("option_profile"),
        text("option_preset"),
        json("option_rungs"),
        boolean("option_keep_hdr"),
        double("option_poster_seconds"),
        integer("option_source_program"),
        text("source_container"),
        text("source_video_codec"),
        text("source_audio_codec"),
        integer("source_width"),
        integer("source_height"),
        integer("source_rotation_degrees"),
        double("source_frame_rate"),
        double("source_duration_seconds"),
        text("source_pixel_format"),
        text("source_video_range"),
        boolean("source_interlaced"),
        integer("source_audio_tracks"),
        integer("source_subtitle_tracks"),
        binary("source_contents"),
        bigint("cleanup_time"),
        bigint("unpublished_since"),
    ];
    table("jobs", required, nullable, &["id"])
}

fn renditions() -> TableCreateStatement {
    let columns = [
        text("job_id"),
        text("rendition_id"),
        integer("position"),
        text("kind"),
        text("state"),
        integer("width"),
        integer("height"),
        double("frame_rate"),
        text("video_range"),
        text("language"),
        integer("channels"),
        text("codecs"),
        bigint("bandwidth_bps"),
        bigint("average_bandwidth_bps"),
        bigint("size_bytes"),
        text("download_key"),
        double("progress_percent"),
        bigint("progress_frames"),
        bigint("progress_segments_ready"),
    ];
    table("job_renditions", columns, [], &["job_id", "rendition_id"])
}

fn warnings() -> TableCreateStatement {
    let columns = [text("job_id"), integer("position"), text("reason"), text("message")];
    table("job_warnings", columns, [], &["job_id", "position"])
}

fn tasks() -> TableCreateStatement {
    let columns = [
        text("id"),
        text("job_id"),
        integer("generation"),
        integer("task_index"),
        text("kind"),
        text("state"),
        text("owner"),
        text("class"),
        integer("job_priority"),
        integer("stage"),
        integer("job_position"),
        bigint("cost"),
        bigint("virtual_start"),
        text("rendition_id"),
        text("required_build"),
        text("encoder_build"),
        text("worker"),
        bigint("fencing_token"),
        bigint("lease_expire_time"),
        integer("attempt_failures"),
        integer("dependency_failures"),
        integer("file_failures"),
        text("excluded_worker"),
        bigint("excluded_until"),
        bigint("ready_time"),
    ];
    table("tasks", columns, [text("start_nonce").unique_key().to_owned()], &["id"])
}

fn owner_shares() -> TableCreateStatement {
    table("owner_shares", [text("owner"), text("class"), bigint("virtual_finish")], [], &["owner", "class"])
}

fn workers() -> TableCreateStatement {
    let columns = [
        text("name"),
        text("host"),
        text("version"),
        text("encoder_build"),
        integer("bulk_slots"),
        integer("express_slots"),
        bigint("first_seen_time"),
        bigint("last_seen_time"),
        boolean("draining"),
    ];
    table("workers", columns, [], &["name"])
}

fn dispatch_state() -> TableCreateStatement {
    table("dispatch_state", [integer("id"), boolean("paused"), bigint("backlog_sweep_time")], [], &["id"])
}

fn plans() -> TableCreateStatement {
    table("plans", [text("job_id"), integer("generation"), text("plan")], [], &["job_id", "generation"])
}

fn outputs() -> TableCreateStatement {
    let columns = [
        text("job_id"),
        integer("generation"),
        text("rendition_id"),
        text("kind"),
        text("uri"),
        bigint("size_bytes"),
        text("codec"),
    ];
    table("outputs", columns, [], &["job_id", "generation", "rendition_id", "kind"])
}

fn segment_parts() -> TableCreateStatement {
    let columns = [
        text("job_id"),
        integer("generation"),
        integer("task_index"),
        integer("part"),
        integer("count"),
        blob("outputs"),
    ];
    table("segment_parts", columns, [], &["job_id", "generation", "task_index", "part"])
}

fn manifests() -> TableCreateStatement {
    table("manifests", [text("job_id"), integer("generation"), blob("outputs")], [], &["job_id"])
}

fn revision_counters() -> TableCreateStatement {
    table("revision_counters", [integer("shard"), bigint("revision")], [], &["shard"])
}
