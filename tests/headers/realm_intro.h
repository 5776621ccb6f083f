/* realm.h - language models in your program, on your program's terms.
 *
 * A model (a GGUF file's bytes) is registered once in a store and shared. A guest, a sandboxed
 * WebAssembly module, knows the model's architecture, chat format and sampling; one is built in.
 * A session is one conversation: give it a prompt, poll it for tokens.
 *
 *
 * Ownership
 *
 * What a _create, _open or _load function returns belongs to the caller, who ends it with the
 * matching _destroy, _close or _unload; these accept NULL. Objects keep alive what they use, so
 * they may be ended in any order. Memory passed in is borrowed for the length of the call; the one
 * exception is a model's bytes, which are borrowed until the model's last user is gone, and then
 * given back through the release callback (or are copied, with REALM_MODEL_COPY). Ownership never
 * depends on whether a call succeeds. Pointers that the library hands out say how long they are
 * valid. Outputs are written only on success, unless a function says otherwise; a caller's array may
 * have been overwritten after a failure.
 *
 * Where a function fills a caller's array "in two calls", it may be called twice: with too small a
 * capacity (0 and NULL are allowed) it stores the needed size and returns
 * REALM_STATUS_BUFFER_TOO_SMALL.
 *
 * Arguments of these names mean the same everywhere, unless a function says otherwise. `session`,
 * `runtime`, `instance`: the object that the call is for; not NULL. `store`: NULL is the process-wide
 * store. `id`: a model registered there; `model_id`: one registered in the runtime's store. `error`: as
 * in the chapter on errors. What is "(optional)" may be NULL.
 *
 *
 * Threads
 *
 * The library starts no thread. Stores, models, guests and modules of your own may be used from any
 * thread at any time. A runtime is set up by one thread (realm_runtime_add_backend, _add_kernel); sessions may
 * then be opened in it from any. A session is used by one thread at a time, and may move between threads;
 * the one exception is realm_session_cancel, which may be called from any thread and from a signal
 * handler. Instances of modules are used likewise, all together that are linked with each other.
 * Callbacks run on the thread that called the library, except the tasks of a parallel_for, and may
 * not call back into the library, but for release callbacks and the host functions of modules of your
 * own (see there). No lock that another call would wait for is held
 * across a callback.
 *
 *
 * Errors
 *
 * Functions that can fail return a realm_status: 0 is success, errors are negative, and numbers
 * are never reused. Functions list those that say something of the call, without the prefix:
 * `NOT_FOUND` is REALM_STATUS_NOT_FOUND. Besides, any may return `INVALID_ARGUMENT` for a pointer that
 * is NULL or misaligned, `UNSUPPORTED` for a struct of another major version or with a `next`,
 * `NO_MEMORY` and `INTERNAL`.
 *
 * The last argument of all but the simplest is a realm_error of the caller's. It
 * may be NULL; on failure it gets the status and one line of text. Nothing is thread-local and
 * reporting allocates nothing. No input (file, guest, prompt, argument) makes the library abort; modules of
 * your own are less well guarded (realm_wasm_module_load). Two mistakes it cannot catch: a pointer that is not
 * what it should be (objects must be live, arrays as long as their count says, with NULL for a count of 0, and
 * structs that open with struct_size readable that far), and two threads in one session at a time. Callbacks
 * return: they may neither throw nor longjmp.
 *
 * A bug in the library is a REALM_STATUS_INTERNAL whose text says what and where. The session, or the
 * linked instances of modules, that met it can only be closed; everything else goes on. Nothing is printed. This
 * holds for hosted builds. In firmware realm_firmware_panic is called, and a build with panic = "abort" ends the
 * process, as a fault of the interpreter itself does everywhere.
 *
 *
 * Versions
 *
 * Structs that may grow open with struct_size and abi_version: start from their REALM_..._INIT
 * macro and fill in what you need; zero means the default. The library reads and writes
 * only what struct_size covers, so old programs work with new libraries and the other way round.
 * Only another major version is refused. Fields are only ever added at the end.
 */

