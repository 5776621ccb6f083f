//! The imports from the host and safe wrappers around them: the only file with `extern "C"` imports.
//!
//! A wrapper turns a negative status into [`Fail`]. Messages never travel inside errors: whoever
//! knows what went wrong hands the sentence to the host at once (`fail!`), so an error is four bytes.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

#[cfg(not(target_arch = "wasm32"))]
use crate::fake as sys;

#[cfg(target_arch = "wasm32")]
mod sys {
    #[link(wasm_import_module = "realm")]
    unsafe extern "C" {
        pub fn realm_meta_get(
            id: u32,
            key: *const u8,
            key_len: usize,
            index: i32,
            kind: u32,
            dst: *mut u8,
            dst_bytes: usize,
        ) -> i32;
        pub fn realm_tensor_find(id: u32, name: *const u8, name_len: usize) -> i32;
        pub fn realm_tensor_info(id: u32, handle: u32, dst: *mut u8, len: usize) -> i32;
        pub fn realm_tensor_name(id: u32, handle: u32, dst: *mut u8, dst_bytes: usize) -> i32;
        pub fn realm_get_model_info(id: u32, dst: *mut u8, len: usize) -> i32;
        pub fn realm_vocab_info(id: u32, dst: *mut u8, len: usize) -> i32;
        pub fn realm_tokenize(
            id: u32,
            text: *const u8,
            len: usize,
            flags: u32,
            dst: *mut u32,
            dst_count: usize,
        ) -> i32;
        pub fn realm_token_find(id: u32, text: *const u8, len: usize) -> i32;
        pub fn realm_token_is_eog(id: u32, token: u32) -> i32;
        pub fn realm_token_piece(id: u32, token: u32, dst: *mut u8, dst_bytes: usize) -> i32;
        pub fn realm_detok_reset() -> i32;
        pub fn realm_detok_push(token: u32, dst: *mut u8, dst_bytes: usize) -> i32;
        pub fn realm_detok_flush(dst: *mut u8, dst_bytes: usize) -> i32;
        pub fn realm_param_get(key: *const u8, key_len: usize, dst: *mut u8, bytes: usize) -> i32;
        pub fn realm_param_key(index: u32, dst: *mut u8, dst_bytes: usize) -> i32;
        pub fn realm_input_read(offset: u32, dst: *mut u8, dst_bytes: usize) -> i32;
        pub fn realm_emit(token: i32, text: *const u8, len: usize) -> i32;
        pub fn realm_emit_token(token: u32) -> i32;
        pub fn realm_logprob(bits: u32) -> i32;
        pub fn realm_publish(what: u32, buffer: u32) -> i32;
        pub fn realm_progress(done: u32, total: u32) -> i32;
        pub fn realm_log(level: u32, text: *const u8, len: usize) -> i32;
        pub fn realm_fail(text: *const u8, len: usize) -> i32;
        pub fn realm_buffer_create(kind: u32, cols: u32, rows: u32) -> i32;
        pub fn realm_buffer_write(handle: u32, offset: u32, src: *const u8, len: usize) -> i32;
        pub fn realm_buffer_read(handle: u32, offset: u32, dst: *mut u8, len: usize) -> i32;
        pub fn realm_kv_create(desc: *const u8, len: usize) -> i32;
        pub fn realm_kv_truncate(position: u32) -> i32;
        pub fn realm_program_create(bytes: *const u8, len: usize) -> i32;
        pub fn realm_program_destroy(handle: u32) -> i32;
        pub fn realm_step_submit(program: u32, regs: *const u32, count: usize, repeat: u32) -> i32;
    }
}

/// Numbers of `realm_status` that the guest gives or tells apart.
pub mod status {
    /// An argument or parameter is out of range or unknown.
    pub const INVALID_ARGUMENT: i32 = -1;
    /// Memory ran out.
    pub const NO_MEMORY: i32 = -2;
    /// Nothing has that name.
    pub const NOT_FOUND: i32 = -3;
    /// The model file contradicts itself.
    pub const FORMAT: i32 = -5;
    /// An architecture or feature this guest does not know.
    pub const UNSUPPORTED: i32 = -6;
    /// A limit would be exceeded.
    pub const LIMIT: i32 = -7;
    /// The event is not allowed now.
    pub const STATE: i32 = -8;
    /// The buffer given to an import is too small.
    pub const BUFFER_TOO_SMALL: i32 = -12;
}

/// GGUF value types and ggml tensor types that appear on the wire.
pub mod kind {
    /// f32 tensor or buffer.
    pub const F32: u32 = 0;
    /// f16 tensor or buffer.
    pub const F16: u32 = 1;
    /// q8_0 tensor.
    pub const Q8_0: u32 = 8;
    /// i32 buffer.
    pub const I32: u32 = 26;
    /// Metadata: u32.
    pub const META_U32: u32 = 4;
    /// Metadata: f32.
    pub const META_F32: u32 = 6;
    /// Metadata: bool.
    pub const META_BOOL: u32 = 7;
    /// Metadata: string.
    pub const META_STRING: u32 = 8;
}

/// A failed call: the status. The message, if the guest has one, is with the host already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fail(pub i32);

/// What fallible functions return.
pub type Result<T> = core::result::Result<T, Fail>;

/// A line of text in a fixed array; longer text is cut at a character boundary.
pub struct Line {
    len: usize,
    bytes: [u8; 232],
}

impl Line {
    /// An empty line.
    pub const fn new() -> Self {
        Self {
            len: 0,
            bytes: [0; 232],
        }
    }

    /// Formats into a new line.
    pub fn format(args: fmt::Arguments<'_>) -> Self {
        let mut line = Self::new();
        // Writing truncates, so it cannot fail.
        let _ = fmt::write(&mut line, args);
        line
    }

    /// The text so far.
    pub fn text(&self) -> &str {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.len() - self.len;
        let mut cut = text.len().min(room);
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        let source = text.as_bytes().get(..cut).unwrap_or_default();
        if let Some(target) = self.bytes.get_mut(self.len..self.len + cut) {
            target.copy_from_slice(source);
            self.len += cut;
        }
        Ok(())
    }
}

/// Hands a message to the host and makes the error to return.
#[cold]
#[inline(never)]
pub fn failed(status: i32, args: fmt::Arguments<'_>) -> Fail {
    let line = Line::format(args);
    let text = line.text();
    // SAFETY: pointer and length are those of a live string.
    unsafe { sys::realm_fail(text.as_ptr(), text.len()) };
    Fail(status)
}

/// What ARGMAX gives where there is no number.
pub const NO_INDEX: u32 = u32::MAX;

/// `fail!(LIMIT, "...")`: a [`Fail`](crate::abi::Fail) whose sentence the host has.
#[macro_export]
macro_rules! fail {
    ($status:ident, $($arg:tt)*) => {
        $crate::abi::failed($crate::abi::status::$status, format_args!($($arg)*))
    };
}

/// Tells the host about a panic (a bug in the guest) before the trap.
#[cfg(target_arch = "wasm32")]
pub fn report_panic(info: &core::panic::PanicInfo<'_>) {
    failed(0, format_args!("guest panic: {}", info.message()));
}

fn check(result: i32) -> Result<u32> {
    u32::try_from(result).map_err(|_| Fail(result))
}

fn optional(result: i32) -> Result<Option<u32>> {
    match result {
        status::NOT_FOUND => Ok(None),
        other => check(other).map(Some),
    }
}

/// Logs a line; level 0 error, 1 warning, 2 information, 3 debug.
pub fn log(level: u32, args: fmt::Arguments<'_>) {
    let line = Line::format(args);
    // SAFETY: pointer and length are those of a live string.
    unsafe { sys::realm_log(level, line.text().as_ptr(), line.text().len()) };
}

/// An empty vector with room for `count` elements, or `NO_MEMORY`: for sizes that input decides.
pub fn try_vec<T>(count: usize) -> Result<Vec<T>> {
    let mut v = Vec::new();
    match v.try_reserve_exact(count) {
        Ok(()) => Ok(v),
        Err(_) => Err(fail!(
            NO_MEMORY,
            "the guest's memory limit (max_guest_memory_bytes) is too small for {count} elements"
        )),
    }
}

/// Calls `get(dst, bytes)` with growing room until the whole answer fits; None if it is not there.
fn read_all(get: impl Fn(*mut u8, usize) -> i32) -> Result<Option<Vec<u8>>> {
    let mut bytes: Vec<u8> = try_vec(64)?;
    loop {
        let room = bytes.capacity();
        let Some(size) = optional(get(bytes.as_mut_ptr(), room))? else {
            return Ok(None);
        };
        if size as usize <= room {
            // SAFETY: the host wrote `size` bytes, which fit the capacity.
            unsafe { bytes.set_len(size as usize) };
            return Ok(Some(bytes));
        }
        bytes = try_vec(size as usize)?;
    }
}

/// A metadata number as u32. `index` -1 reads a scalar. None if the key is missing.
pub fn meta_u32(id: u32, key: &str, index: i32) -> Result<Option<u32>> {
    let mut out = [0u8; 4];
    // SAFETY: all pointers and lengths are those of live objects.
    let result = unsafe {
        sys::realm_meta_get(
            id,
            key.as_ptr(),
            key.len(),
            index,
            kind::META_U32,
            out.as_mut_ptr(),
            4,
        )
    };
    Ok(optional(result)?.map(|_| u32::from_le_bytes(out)))
}

/// A metadata number as f32; None if the key is missing.
pub fn meta_f32(id: u32, key: &str) -> Result<Option<f32>> {
    let mut out = [0u8; 4];
    // SAFETY: all pointers and lengths are those of live objects.
    let result = unsafe {
        sys::realm_meta_get(
            id,
            key.as_ptr(),
            key.len(),
            -1,
            kind::META_F32,
            out.as_mut_ptr(),
            4,
        )
    };
    Ok(optional(result)?.map(|_| f32::from_le_bytes(out)))
}

/// A metadata truth value, or an element of an array of them (`index` -1: the value itself); None if the key is missing.
pub fn meta_bool(id: u32, key: &str, index: i32) -> Result<Option<bool>> {
    let mut out = [0u8; 1];
    // SAFETY: all pointers and lengths are those of live objects.
    let result = unsafe {
        sys::realm_meta_get(
            id,
            key.as_ptr(),
            key.len(),
            index,
            kind::META_BOOL,
            out.as_mut_ptr(),
            1,
        )
    };
    Ok(optional(result)?.map(|_| out != [0]))
}

/// A metadata string, or an element of an array of them (`index` -1: the string itself); None if the key is missing.
pub fn meta_string(id: u32, key: &str, index: i32) -> Result<Option<String>> {
    let bytes = read_all(|dst, room| {
        // SAFETY: `dst` has `room` bytes, the key is live.
        unsafe {
            let (key, len) = (key.as_ptr(), key.len());
            sys::realm_meta_get(id, key, len, index, kind::META_STRING, dst, room)
        }
    })?;
    Ok(bytes.map(text_of))
}

/// The bytes as text; the host promises UTF-8 where it says text, so only a metadata string can
/// fail, and then the readable beginning is what is useful.
fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| {
        let good = e.utf8_error().valid_up_to();
        let mut bytes = e.into_bytes();
        bytes.truncate(good);
        String::from_utf8(bytes).unwrap_or_default()
    })
}

/// A tensor of the model's directory.
#[derive(Clone, Copy, Debug)]
pub struct Tensor {
    /// Its handle, for WEIGHT operands.
    pub handle: u32,
    /// ggml type id.
    pub kind: u32,
    /// Elements per dimension, 1 where there are fewer dimensions.
    pub ne: [u64; 4],
}

/// Looks a tensor up by name; None if the model has none of that name.
pub fn tensor(id: u32, name: &str) -> Result<Option<Tensor>> {
    // SAFETY: the name is a live string.
    let found = optional(unsafe { sys::realm_tensor_find(id, name.as_ptr(), name.len()) })?;
    let Some(handle) = found else { return Ok(None) };
    let mut raw = [0u8; 40];
    // SAFETY: `raw` has the 40 bytes it is said to have.
    check(unsafe { sys::realm_tensor_info(id, handle, raw.as_mut_ptr(), raw.len()) })?;
    let mut words = [0u32; 10];
    for (word, chunk) in words.iter_mut().zip(raw.chunks_exact(4)) {
        *word = chunk.try_into().map_or(0, u32::from_le_bytes);
    }
    let [kind, n_dims, a0, a1, b0, b1, c0, c1, d0, d1] = words;
    let wide = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let mut ne = [wide(a0, a1), wide(b0, b1), wide(c0, c1), wide(d0, d1)];
    for n in ne.iter_mut().skip(n_dims as usize) {
        *n = 1;
    }
    Ok(Some(Tensor { handle, kind, ne }))
}

/// How many tensors a model has: their handles are the numbers below.
pub fn tensor_count(id: u32) -> Result<u32> {
    let mut raw = [0u8; 20];
    // SAFETY: `raw` has the 20 bytes it is said to have; the host writes no more of its 64.
    check(unsafe { sys::realm_get_model_info(id, raw.as_mut_ptr(), raw.len()) })?;
    let [.., a, b, c, d] = raw;
    Ok(u32::from_le_bytes([a, b, c, d]))
}

/// The name of a tensor.
pub fn tensor_name(id: u32, handle: u32) -> Result<String> {
    let bytes = read_all(|dst, room| {
        // SAFETY: `dst` has `room` bytes.
        unsafe { sys::realm_tensor_name(id, handle, dst, room) }
    })?;
    Ok(bytes.map(text_of).unwrap_or_default())
}

/// Facts about the model's vocabulary.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vocab {
    /// Number of tokens; 0 if the model has no vocabulary.
    pub n_tokens: u32,
    /// Beginning-of-text token, -1 if there is none.
    pub bos: i32,
    /// End-of-text token, -1 if there is none.
    pub eos: i32,
    /// Whether tokenizing with special tokens adds BOS.
    pub add_bos: bool,
    /// Whether it adds EOS.
    pub add_eos: bool,
}

/// Reads the vocabulary's facts; a model without one gives `n_tokens` 0.
pub fn vocab(id: u32) -> Result<Vocab> {
    let mut raw = [0u8; 28];
    // SAFETY: `raw` has the 28 bytes it is said to have.
    if optional(unsafe { sys::realm_vocab_info(id, raw.as_mut_ptr(), raw.len()) })?.is_none() {
        return Ok(Vocab {
            bos: -1,
            eos: -1,
            ..Vocab::default()
        });
    }
    let word = |i: usize| {
        let bytes = raw.get(i * 4..i * 4 + 4).and_then(|b| b.try_into().ok());
        bytes.map_or(0, u32::from_le_bytes)
    };
    Ok(Vocab {
        n_tokens: word(0),
        bos: word(1) as i32,
        eos: word(2) as i32,
        add_bos: word(6) & 1 != 0,
        add_eos: word(6) & 2 != 0,
    })
}

/// `tokenize` flag: add BOS and EOS as the vocabulary says.
pub const ADD_SPECIAL: u32 = 1;
/// `tokenize` flag: text that spells a special token becomes that token.
pub const PARSE_SPECIAL: u32 = 2;
/// `tokenize` flag: the text goes on where another has ended, and nothing is put before it. Not with [`ADD_SPECIAL`].
pub const GOES_ON: u32 = 4;

/// Appends the tokens of `text` to `out`.
pub fn tokenize(id: u32, text: &str, flags: u32, out: &mut Vec<u32>) -> Result<()> {
    let start = out.len();
    // Most text has more than two bytes per token; a second call is cheaper than the memory.
    let mut room = text.len() / 2 + 8;
    loop {
        if out.try_reserve_exact(room).is_err() {
            return Err(fail!(
                NO_MEMORY,
                "the guest's memory limit (max_guest_memory_bytes) is too small for this prompt"
            ));
        }
        // SAFETY: `out` has room for `room` more elements behind its length; the text is live.
        let count = check(unsafe {
            let dst = out.as_mut_ptr().add(start);
            sys::realm_tokenize(id, text.as_ptr(), text.len(), flags, dst, room)
        })? as usize;
        if count <= room {
            // SAFETY: the host wrote `count` elements there.
            unsafe { out.set_len(start + count) };
            return Ok(());
        }
        room = count;
    }
}

/// The token whose stored text is exactly this; None if there is none.
pub fn token_find(id: u32, text: &str) -> Result<Option<u32>> {
    // SAFETY: pointer and length are those of a live string.
    optional(unsafe { sys::realm_token_find(id, text.as_ptr(), text.len()) })
}

/// Whether the token ends a generation.
pub fn is_eog(id: u32, token: u32) -> bool {
    // SAFETY: no pointers.
    unsafe { sys::realm_token_is_eog(id, token) == 1 }
}

/// Appends the first bytes that a token stands for, at most 256 of them, to `out`.
pub fn piece(id: u32, token: u32, out: &mut Vec<u8>) -> Result<()> {
    const ROOM: usize = 256;
    if out.try_reserve(ROOM).is_err() {
        return Err(Fail(status::NO_MEMORY));
    }
    // SAFETY: `out` has ROOM bytes behind its length, and the host writes at most so many.
    unsafe {
        let dst = out.as_mut_ptr().add(out.len());
        let size = check(sys::realm_token_piece(id, token, dst, ROOM))? as usize;
        out.set_len(out.len() + size.min(ROOM));
    }
    Ok(())
}

/// Forgets an incomplete character of the turn before.
pub fn detok_reset() {
    // SAFETY: no pointers.
    unsafe { sys::realm_detok_reset() };
}

/// Appends the text of the token (`None`: what is left at the end of a turn) to `out`.
pub fn detok(token: Option<u32>, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    let mut room = 256;
    loop {
        if out.try_reserve(room).is_err() {
            return Err(Fail(status::NO_MEMORY));
        }
        // SAFETY: `out` has `room` bytes behind its length.
        let result = unsafe {
            let dst = out.as_mut_ptr().add(start);
            match token {
                Some(token) => sys::realm_detok_push(token, dst, room),
                None => sys::realm_detok_flush(dst, room),
            }
        };
        match result {
            status::BUFFER_TOO_SMALL if room < 1 << 20 => room *= 4,
            other => {
                let size = check(other)? as usize;
                // SAFETY: the host wrote `size` bytes, at most `room`.
                unsafe { out.set_len(start + size.min(room)) };
                return Ok(());
            }
        }
    }
}

/// A parameter of the session; None if it is unset.
pub fn param(key: &str) -> Result<Option<String>> {
    let bytes = read_all(|dst, room| {
        // SAFETY: `dst` has `room` bytes, the key is live.
        unsafe { sys::realm_param_get(key.as_ptr(), key.len(), dst, room) }
    })?;
    Ok(bytes.map(text_of))
}

/// The name of the `index`-th parameter that is set; None past the last.
pub fn param_key(index: u32) -> Result<Option<String>> {
    let bytes = read_all(|dst, room| {
        // SAFETY: `dst` has `room` bytes.
        unsafe { sys::realm_param_key(index, dst, room) }
    })?;
    Ok(bytes.map(text_of))
}

/// Reads the whole pending input of `len` bytes.
pub fn input(len: usize) -> Result<Vec<u8>> {
    let mut bytes: Vec<u8> = try_vec(len)?;
    // SAFETY: `bytes` has `len` bytes of room.
    let got = check(unsafe { sys::realm_input_read(0, bytes.as_mut_ptr(), len) })? as usize;
    // SAFETY: the host wrote `got` bytes, at most `len`.
    unsafe { bytes.set_len(got.min(len)) };
    Ok(bytes)
}

/// Hands a token (-1: none) and its text to the host.
pub fn emit(token: i32, text: &[u8]) -> Result<()> {
    // SAFETY: pointer and length are those of a live slice.
    check(unsafe { sys::realm_emit(token, text.as_ptr(), text.len()) }).map(drop)
}

/// Hands a token and the text that is complete after it to the host, which makes that text itself.
pub fn emit_token(token: u32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { sys::realm_emit_token(token) }).map(drop)
}

/// Says how probable the token is that is emitted next.
pub fn logprob(value: f32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { sys::realm_logprob(value.to_bits()) }).map(drop)
}

/// Lets the host read the logits from this buffer.
pub fn publish_logits(buffer: u32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { sys::realm_publish(1, buffer) }).map(drop)
}

/// Lets the host read an embedding from this buffer.
pub fn publish_embedding(buffer: u32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { sys::realm_publish(2, buffer) }).map(drop)
}

/// Lets the host read a recipe from this buffer.
pub fn publish_recipe(buffer: u32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { sys::realm_publish(3, buffer) }).map(drop)
}

/// Reports prefill progress in tokens.
pub fn progress(done: u32, total: u32) {
    // SAFETY: no pointers.
    unsafe { sys::realm_progress(done, total) };
}

/// A zeroed session buffer of `rows × cols`.
pub fn buffer(kind: u32, cols: u32, rows: u32) -> Result<u32> {
    // SAFETY: no pointers.
    check(unsafe { sys::realm_buffer_create(kind, cols, rows) })
}

/// Types that cross to and from buffers as their bytes.
///
/// # Safety
/// Only for types without padding for which every bit pattern is valid.
pub unsafe trait Plain: Copy {}
// SAFETY: four plain bytes.
unsafe impl Plain for u32 {}
// SAFETY: four plain bytes.
unsafe impl Plain for f32 {}

/// Writes elements to a buffer, starting at element `first`.
pub fn buffer_write<T: Plain>(handle: u32, first: u32, values: &[T]) -> Result<()> {
    let size = size_of::<T>() as u32;
    // SAFETY: `T` is plain, pointer and byte length are those of a live slice.
    let result = unsafe {
        sys::realm_buffer_write(
            handle,
            first * size,
            values.as_ptr().cast(),
            size_of_val(values),
        )
    };
    check(result).map(drop)
}

/// Reads elements from a buffer, starting at element `first`.
pub fn buffer_read<T: Plain>(handle: u32, first: u32, values: &mut [T]) -> Result<()> {
    let (size, len) = (size_of::<T>() as u32, size_of_val(values));
    // SAFETY: `T` is plain, pointer and byte length are those of a live slice.
    let result =
        unsafe { sys::realm_buffer_read(handle, first * size, values.as_mut_ptr().cast(), len) };
    check(result).map(drop)
}

/// One cache layer, as `realm_kv_create` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct KvDesc {
    /// Element type: `kind::F32`, `F16` or `Q8_0`.
    pub kind: u32,
    /// Key/value heads.
    pub n_head_kv: u32,
    /// Elements of a key head.
    pub head_dim_k: u32,
    /// Elements of a value head.
    pub head_dim_v: u32,
    /// Positions it must be able to hold.
    pub max_positions: u32,
    /// Layers of a group share a page table.
    pub group: u32,
    /// Attention window in positions; 0: everything.
    pub window: u32,
}

/// Creates a cache layer.
pub fn kv_create(desc: &KvDesc) -> Result<u32> {
    // SAFETY: the struct is seven u32 without padding, and live.
    check(unsafe { sys::realm_kv_create((&raw const *desc).cast(), size_of::<KvDesc>()) })
}

/// Forgets keys and values at `position` and after.
pub fn kv_truncate(position: u32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { sys::realm_kv_truncate(position) }).map(drop)
}

/// Has the host validate and plan a program.
pub fn program_create(bytes: &[u8]) -> Result<u32> {
    // SAFETY: pointer and length are those of a live slice.
    check(unsafe { sys::realm_program_create(bytes.as_ptr(), bytes.len()) })
}

/// Drops a program.
pub fn program_destroy(handle: u32) {
    // SAFETY: no pointers.
    unsafe { sys::realm_program_destroy(handle) };
}

/// Books one step with these register values.
pub fn step_submit(program: u32, regs: &[u32]) -> Result<()> {
    step_repeat(program, regs, 1)
}

/// Books a step that is run so many times, counters going up by one from each to the next.
pub fn step_repeat(program: u32, regs: &[u32], repeat: u32) -> Result<()> {
    // SAFETY: pointer and count are those of a live slice.
    check(unsafe { sys::realm_step_submit(program, regs.as_ptr(), regs.len(), repeat) }).map(drop)
}
