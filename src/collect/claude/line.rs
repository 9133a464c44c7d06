//! One line of a Claude Code transcript, as far as it is read.
//!
//! The format has no specification; this is what versions 1.0 to 2.1 write. `user` and `assistant` lines hold a
//! message whose content is a text or an array of blocks: `tool_use` asks, `tool_result` answers, in lines of their
//! own and in any order. `toolUseResult` is the tool's own record of the one result in its line. A `progress` line
//! of `agent_progress` wraps a subagent's line in `data.message`. Invariants: of texts only their length and what
//! they begin with is looked at; at most [`MAX_BLOCKS`] tool blocks of a line are kept.

use std::fmt;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed as _, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use crate::collect::lenient::{Flag, Measure, Number, Object, Str, TextSize, pass_over, scalars};

/// The most tool blocks that a line may hold: a model asks for a few at once. The bound keeps a line of 16 MiB of
/// empty blocks from becoming a gigabyte of structures.
pub(super) const MAX_BLOCKS: usize = 4_096;

/// A line's fields. Everything may be missing.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawLine<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Str<'a>,
    #[serde(borrow, default)]
    pub(super) session_id: Str<'a>,
    #[serde(borrow, default)]
    pub(super) timestamp: Str<'a>,
    #[serde(borrow, default)]
    pub(super) uuid: Str<'a>,
    #[serde(borrow, default)]
    pub(super) cwd: Str<'a>,
    #[serde(borrow, default)]
    pub(super) agent_id: Str<'a>,
    #[serde(default)]
    pub(super) is_sidechain: Flag,
    /// Where a forked session copied this line from.
    #[serde(borrow, default)]
    pub(super) forked_from: Object<Fork<'a>>,
    #[serde(borrow, default)]
    pub(super) message: Object<Message<'a>>,
    #[serde(borrow, default)]
    pub(super) tool_use_result: ToolUseResult<'a>,
    #[serde(borrow, default)]
    pub(super) tool_denial_kind: Str<'a>,
    #[serde(borrow, default)]
    pub(super) data: Object<Progress<'a>>,
    #[serde(borrow, default, rename = "parentToolUseID")]
    pub(super) parent_tool_use_id: Str<'a>,
}

/// The line that a copy was made of.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fork<'a> {
    #[serde(borrow, default)]
    pub(super) session_id: Str<'a>,
}

/// What a `progress` line tells.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Progress<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Str<'a>,
    #[serde(borrow, default)]
    pub(super) agent_id: Str<'a>,
    #[serde(borrow, default)]
    pub(super) message: Object<Inner<'a>>,
}

/// A subagent's line inside a `progress` line.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Inner<'a> {
    #[serde(borrow, default)]
    pub(super) timestamp: Str<'a>,
    #[serde(borrow, default)]
    pub(super) uuid: Str<'a>,
    #[serde(borrow, default)]
    pub(super) message: Object<Message<'a>>,
    #[serde(borrow, default)]
    pub(super) tool_use_result: ToolUseResult<'a>,
}

/// A message of the conversation.
#[derive(Debug, Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow, default)]
    pub(super) content: Content<'a>,
}

/// What a message holds.
#[derive(Debug, Default)]
pub(super) struct Content<'a> {
    /// Whether it was a text or an array: anything else is no message.
    pub(super) is_known: bool,
    /// Whether it says that the user broke in.
    pub(super) is_interruption: bool,
    /// Whether it held more than [`MAX_BLOCKS`].
    pub(super) overflows: bool,
    /// The `tool_use` and `tool_result` blocks, each with its place among all blocks.
    pub(super) blocks: Vec<(usize, Block<'a>)>,
}

/// A block of a message.
#[derive(Debug, Deserialize)]
pub(super) struct Block<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Str<'a>,
    #[serde(borrow, default)]
    pub(super) id: Str<'a>,
    #[serde(borrow, default)]
    pub(super) name: Str<'a>,
    #[serde(borrow, default)]
    pub(super) input: Object<Input<'a>>,
    #[serde(borrow, default)]
    pub(super) tool_use_id: Str<'a>,
    #[serde(default)]
    pub(super) is_error: Flag,
    #[serde(default)]
    pub(super) content: ResultContent,
    #[serde(default)]
    text: ResultContent,
}

impl Block<'_> {
    /// Whether it asks for a tool.
    pub(super) fn is_call(&self) -> bool {
        self.kind.as_deref() == Some("tool_use")
    }

    /// Whether it answers a call.
    pub(super) fn is_result(&self) -> bool {
        self.kind.as_deref() == Some("tool_result")
    }
}

/// What a tool was asked, as far as it is read: never kept.
#[derive(Debug, Deserialize)]
pub(super) struct Input<'a> {
    #[serde(borrow, default)]
    pub(super) command: Str<'a>,
}

/// What a text says by its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::collect) enum Mark {
    /// The user refused the call.
    Denied,
    /// The user broke in.
    Interrupted,
}

impl Mark {
    /// Recognises the fixed sentences with which Claude Code tells the model of a refusal and of an interruption.
    pub(in crate::collect) fn of(text: &str) -> Option<Self> {
        let text = text.trim_start();
        let text = text.strip_prefix("Error: ").unwrap_or(text);
        let begins =
            |sentences: &[&str]| sentences.iter().any(|sentence| text.starts_with(sentence));
        if begins(&[
            "The user doesn't want to proceed with this tool use",
            "The user doesn't want to take this action right now",
            "User rejected",
        ]) {
            Some(Self::Denied)
        } else if begins(&["[Request interrupted by user"]) {
            Some(Self::Interrupted)
        } else {
            None
        }
    }
}

/// The size of a text and what it begins with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::collect) struct ResultContent {
    pub(in crate::collect) size: u64,
    pub(in crate::collect) mark: Option<Mark>,
}

impl<'de> Deserialize<'de> for ResultContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut first = None;
        let mut look = |text: &str| {
            first.get_or_insert_with(|| Mark::of(text));
        };
        let TextSize(size) = Measure(&mut look).deserialize(deserializer)?;
        Ok(Self {
            size,
            mark: first.flatten(),
        })
    }
}

/// The tool's own record of a result.
#[derive(Debug, Default)]
pub(super) enum ToolUseResult<'a> {
    /// None, or one that says nothing.
    #[default]
    Absent,
    /// A text, by what it begins with.
    Text(Option<Mark>),
    /// An object.
    Record(Box<Record<'a>>),
}

/// The fields of a result's record that are read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record<'a> {
    #[serde(borrow, default)]
    pub(super) agent_id: Str<'a>,
    #[serde(borrow, default)]
    status: Str<'a>,
    #[serde(default)]
    is_async: Flag,
    #[serde(borrow, default)]
    background_task_id: Str<'a>,
    #[serde(default)]
    pub(super) interrupted: Flag,
    #[serde(default)]
    total_duration_ms: Number,
    #[serde(default)]
    duration_ms: Number,
    #[serde(default)]
    duration_seconds: Number,
}

impl Record<'_> {
    /// Whether the result is only that of a launch: the work goes on after it.
    pub(super) fn is_launch(&self) -> bool {
        self.is_async.is_true()
            || self
                .background_task_id
                .as_deref()
                .is_some_and(|id| !id.is_empty())
            || self.status.as_deref().is_some_and(says_launched)
    }

    /// How long the tool says that the call took, in whole milliseconds.
    pub(super) fn reported_ms(&self) -> Option<i64> {
        if self.is_launch() {
            return None;
        }
        let seconds = self.duration_seconds.0.map(|seconds| seconds * 1_000.0);
        whole_millis(
            self.total_duration_ms
                .0
                .or(self.duration_ms.0)
                .or(seconds)?,
        )
    }
}

/// Whether a result's `status` says that a subagent was only started.
pub(in crate::collect) fn says_launched(status: &str) -> bool {
    matches!(
        status,
        "async_launched" | "remote_launched" | "teammate_spawned"
    )
}

/// Whole milliseconds of a number of them; `None` beyond 2^53, which no clock measured.
pub(in crate::collect) fn whole_millis(millis: f64) -> Option<i64> {
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        reason = "within 0..2^53, where the conversion is exact"
    )]
    (0.0..9_007_199_254_740_992.0)
        .contains(&millis)
        .then(|| millis.round() as i64)
}

impl<'de: 'a, 'a> Deserialize<'de> for ToolUseResult<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ResultVisitor;
        impl<'de> Visitor<'de> for ResultVisitor {
            type Value = ToolUseResult<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("any value")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(ToolUseResult::Text(Mark::of(text)))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let record =
                    Record::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(ToolUseResult::Record(Box::new(record)))
            }
            pass_over!(seq ToolUseResult::Absent);
            scalars!(ToolUseResult::Absent; visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
        }
        deserializer.deserialize_any(ResultVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;
        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = Content<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("any value")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                let is_interruption = Mark::of(text) == Some(Mark::Interrupted);
                Ok(Content {
                    is_known: true,
                    is_interruption,
                    ..Content::default()
                })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut content = Content {
                    is_known: true,
                    ..Content::default()
                };
                let mut place = 0;
                while let Some(Object(block)) = seq.next_element::<Object<Block<'de>>>()? {
                    if let Some(block) = block {
                        content.is_interruption |= block.text.mark == Some(Mark::Interrupted);
                        if block.is_call() || block.is_result() {
                            content.blocks.push((place, block));
                        }
                    }
                    place += 1;
                    if content.blocks.len() == MAX_BLOCKS {
                        content.overflows = seq.next_element::<IgnoredAny>()?.is_some();
                        while seq.next_element::<IgnoredAny>()?.is_some() {}
                        break;
                    }
                }
                Ok(content)
            }
            pass_over!(map Content::default());
            scalars!(Content::default(); visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
        }
        deserializer.deserialize_any(ContentVisitor)
    }
}

/// What a line's bytes are.
pub(super) enum Parsed<'a> {
    /// An object whose fields could be read.
    Line(Box<RawLine<'a>>),
    /// An object all the same.
    Unusable,
    /// No JSON object, or no text at all.
    Malformed,
}

/// Reads one line.
pub(super) fn parse(bytes: &[u8]) -> Parsed<'_> {
    // A derived struct would also read from an array; only an object is a line.
    let Some(text) = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| text.starts_with('{'))
    else {
        return Parsed::Malformed;
    };
    match serde_json::from_str(text) {
        Ok(line) => Parsed::Line(Box::new(line)),
        // Passing over is not limited in depth, and knows no duplicate keys.
        Err(_) if serde_json::from_str::<IgnoredAny>(text).is_ok() => Parsed::Unusable,
        Err(_) => Parsed::Malformed,
    }
}
