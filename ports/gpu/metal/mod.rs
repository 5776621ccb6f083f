//! Apple's GPUs: the device, and `include/realm_metal.h`. Not yet run on hardware; elsewhere than on Apple's systems creating a backend is
//! an error with a message.

mod capi;
#[cfg(target_vendor = "apple")]
mod device;

pub use capi::{realm_metal_backend, realm_metal_options};
