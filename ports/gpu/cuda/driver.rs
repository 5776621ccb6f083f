//! The functions of NVIDIA's driver that are used, as `cuda.h` declares them (CUDA 11.4 and later).

use super::library::functions;
use core::ffi::{c_char, c_uint, c_void};

/// `CUdevice`, and the opaque handles.
pub type Handle = *mut c_void;
/// `CUdeviceptr`.
pub type Address = u64;

/// `CUresult`: what is told from other failures.
pub const OUT_OF_MEMORY: i32 = 2;
/// As above.
pub const NOT_READY: i32 = 600;

/// `CU_DEVICE_ATTRIBUTE_…`.
pub const MULTIPROCESSOR_COUNT: i32 = 16;
/// As above.
pub const COMPUTE_CAPABILITY_MAJOR: i32 = 75;
/// As above.
pub const COMPUTE_CAPABILITY_MINOR: i32 = 76;

/// As above.
pub const COOPERATIVE_LAUNCH: i32 = 95;

/// `CU_STREAM_NON_BLOCKING`, `CU_EVENT_DISABLE_TIMING`, `CU_STREAM_CAPTURE_MODE_RELAXED`.
pub const NON_BLOCKING: c_uint = 1;
/// As above.
pub const DISABLE_TIMING: c_uint = 2;
/// As above.
pub const CAPTURE_RELAXED: c_uint = 2;

functions! {
    /// The driver.
    Driver {
        init = c"cuInit" (c_uint);
        error_string = c"cuGetErrorString" (i32, *mut *const c_char);
        device_get = c"cuDeviceGet" (*mut i32, i32);
        device_attribute = c"cuDeviceGetAttribute" (*mut i32, i32, i32);
        context_retain = c"cuDevicePrimaryCtxRetain" (*mut Handle, i32);
        context_release = c"cuDevicePrimaryCtxRelease_v2" (i32);
        context_push = c"cuCtxPushCurrent_v2" (Handle);
        context_pop = c"cuCtxPopCurrent_v2" (*mut Handle);
        context_device = c"cuCtxGetDevice" (*mut i32);
        stream_create = c"cuStreamCreate" (*mut Handle, c_uint);
        stream_destroy = c"cuStreamDestroy_v2" (Handle);
        stream_synchronize = c"cuStreamSynchronize" (Handle);
        capture_begin = c"cuStreamBeginCapture_v2" (Handle, c_uint);
        capture_end = c"cuStreamEndCapture" (Handle, *mut Handle);
        graph_instantiate = c"cuGraphInstantiateWithFlags" (*mut Handle, Handle, u64);
        graph_launch = c"cuGraphLaunch" (Handle, Handle);
        graph_destroy = c"cuGraphDestroy" (Handle);
        graph_exec_destroy = c"cuGraphExecDestroy" (Handle);
        alloc = c"cuMemAlloc_v2" (*mut Address, usize);
        memory = c"cuMemGetInfo_v2" (*mut usize, *mut usize);
        free = c"cuMemFree_v2" (Address);
        set = c"cuMemsetD8Async" (Address, u8, usize, Handle);
        to_device = c"cuMemcpyHtoDAsync_v2" (Address, *const c_void, usize, Handle);
        to_host = c"cuMemcpyDtoHAsync_v2" (*mut c_void, Address, usize, Handle);
        module_load = c"cuModuleLoadData" (*mut Handle, *const c_void);
        module_unload = c"cuModuleUnload" (Handle);
        module_function = c"cuModuleGetFunction" (*mut Handle, Handle, *const c_char);
        launch = c"cuLaunchKernel" (Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, *mut *mut c_void, *mut *mut c_void);
        launch_cooperative = c"cuLaunchCooperativeKernel" (Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, *mut *mut c_void);
        occupancy = c"cuOccupancyMaxActiveBlocksPerMultiprocessor" (*mut i32, Handle, i32, usize);
        event_create = c"cuEventCreate" (*mut Handle, c_uint);
        event_record = c"cuEventRecord" (Handle, Handle);
        event_query = c"cuEventQuery" (Handle);
        event_synchronize = c"cuEventSynchronize" (Handle);
        event_destroy = c"cuEventDestroy_v2" (Handle);
    }
}
