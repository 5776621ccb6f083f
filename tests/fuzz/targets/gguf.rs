//! Any bytes as a GGUF file: parsed, registered, and everything in it read.
//!
//! The limits are small, so that libFuzzer's memory limit finds what allocates beyond them.

use realm_sys::gguf::Limits;
use realm_sys::store::Store;

/// What a reader may be made to allocate here, whatever the file says.
const ROW_FLOATS: u64 = 1 << 16;

fn read_all(store: &Store, id: u32) {
    let Ok(model) = store.open(id) else {
        return;
    };
    for (key, value) in model.metadata().iter() {
        assert!(!key.is_empty() || value.as_array().is_none_or(|a| a.len() < usize::MAX));
        if let Some(array) = value.as_array() {
            let _ = array.values().count();
        }
    }
    for handle in 0..model.tensor_count() {
        let Some(tensor) = model.tensor(handle) else {
            panic!("tensor {handle} of {} is missing", model.tensor_count());
        };
        let row = tensor.dims.first().copied().unwrap_or(0);
        if row <= ROW_FLOATS {
            let mut floats = vec![0.0; row as usize];
            let _ = model.read_tensor_f32(handle, 0, 1, &mut floats);
            let _ = model.read_tensor_f32(handle, u64::MAX, 1, &mut floats);
        }
        // Names may repeat; then the first is found.
        assert!(model.find_tensor(tensor.name).is_some());
    }
    if let Ok(vocab) = model.vocab() {
        let mut ids = Vec::new();
        let text = "<t1> Hello, w\u{f6}rld \u{1f30d}\n\t 123";
        if vocab
            .tokenize(text.as_bytes(), true, true, &mut ids)
            .is_ok()
        {
            let mut bytes = Vec::new();
            for id in ids {
                assert!(id < vocab.len());
                let _ = vocab.piece(id, true, &mut bytes);
            }
        }
    }
}

/// One input.
pub fn run(data: &[u8]) {
    let limits = Limits {
        kv_count: 256,
        tensor_count: 256,
        string_bytes: 1 << 16,
        array_count: 1 << 14,
        metadata_bytes: 1 << 20,
        ..Limits::default()
    };
    let store = Store::new();
    // A second part, so that split files are met too.
    let (first, second) = data.split_at(data.len() / 2);
    let _ = store.register_copy(&[first, second], 7, &limits);
    if let Ok(id) = store.register_copy(&[data], 0, &limits) {
        read_all(&store, id);
        assert!(store.remove(id).is_ok());
    }
}
