//! What the responses of one stream must keep to among each other, whatever each of their watches says.

use std::collections::HashMap;

use super::{Broken, Rule, hold};

/// The watches of a stream by the data they were created with.
#[derive(Clone, Debug, Default)]
pub struct Route {
    ids: HashMap<usize, i64>,
    /// Parts of a response of this watch are on their way.
    open: Option<i64>,
}

impl Route {
    /// A watch was created.
    pub fn created(&mut self, watch_data: usize, watch_id: i64) {
        self.ids.insert(watch_data, watch_id);
    }

    /// Takes the next response of the stream. Where a callback refuses a part, its neighbours may be others.
    pub fn take(
        &mut self,
        watch_id: i64,
        watch_data: usize,
        progress: bool,
        fragment: bool,
    ) -> Result<(), Broken> {
        let whose = format!("a response of watch {watch_id} with data {watch_data}");
        if watch_id == libwatch::WATCH_ID_NONE {
            hold(Rule::Route, progress && watch_data == 0, || whose.clone())?;
        } else {
            hold(Rule::Route, self.ids.get(&watch_data) == Some(&watch_id), || whose.clone())?;
        }
        let neighbours = self.open.is_none_or(|open| open == watch_id && !progress);
        hold(Rule::Route, neighbours, || format!("{whose} amid the parts of {:?}", self.open))?;
        self.open = fragment.then_some(watch_id);
        Ok(())
    }
}
