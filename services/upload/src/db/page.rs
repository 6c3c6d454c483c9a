use reelmill_mesh::paging::Cursor;
use sea_orm::{ColumnTrait, Condition};

/// Selects the rows after the cursor in a list sorted by creation time and id, newest first.
pub(super) fn after<C: ColumnTrait>(cursor: Option<&Cursor>, create_time: C, id: C) -> Condition {
    let Some(cursor) = cursor else { return Condition::all() };
    let same_time = Condition::all().add(create_time.eq(cursor.create_time)).add(id.lt(&cursor.id));
    Condition::any().add(create_time.lt(cursor.create_time)).add(same_time)
}
