// realm_posix.hpp - realm_posix.h with owners and results: the platform, files in memory, threads.
//
// For hosted programs; realm.hpp alone needs nothing of an operating system.
#ifndef REALM_POSIX_HPP
#define REALM_POSIX_HPP

#include "realm.hpp"
#include "realm_posix.h"

namespace realm {
namespace posix {

// Memory, clock and log of this process; no threads.
inline const realm_platform *platform() noexcept { return realm_posix_platform(); }

// Threads. Must outlive the sessions that were opened through its platform.
class pool : public detail::handle<realm_posix_pool, realm_posix_pool_destroy> {
public:
    using handle::handle;
    // The thread that polls is one of `thread_count`.
    static result<pool> create(std::uint32_t thread_count) noexcept {
        realm::error error;
        realm_posix_pool *c = nullptr;
        if (realm_posix_pool_create(thread_count, &c, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return pool(c);
    }
    result<void> pin(const std::uint32_t *cpus, std::size_t cpu_count) noexcept {
        realm::error error;
        return detail::status_of(realm_posix_pool_pin(c(), cpus, cpu_count, error.c()), error);
    }
    // Valid as long as the pool; posix::platform() for an empty one.
    const realm_platform *platform() const noexcept { return realm_posix_pool_platform(c()); }
};

// A file in memory, read-only.
class file {
public:
    file() noexcept = default;
    explicit file(const realm_posix_map &c) noexcept : c_(c) {} // takes it over
    file(file &&other) noexcept : c_(other.release()) {}
    file &operator=(file &&other) noexcept {
        const realm_posix_map c = other.release();
        realm_posix_unmap(&c_);
        c_ = c;
        return *this;
    }
    file(const file &) = delete;
    file &operator=(const file &) = delete;
    ~file() { realm_posix_unmap(&c_); }

    // Mapped: starts at once and costs no memory of the process's own.
    static result<file> map(const char *path) noexcept {
        realm::error error;
        realm_posix_map c = {};
        if (realm_posix_map_file(path, &c, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return file(c);
    }

    const void *data() const noexcept { return c_.data; }
    std::size_t size() const noexcept { return c_.bytes; }
    bool is_huge() const noexcept { return realm_posix_map_is_huge(&c_) != 0; }
    // Copies a part into huge pages at the same addresses; where the next part begins. For a file that has become a
    // model's, keep what c() points to and call realm_posix_map_move_to_huge with it.
    result<std::size_t> move_to_huge(std::size_t from, std::size_t bytes) const noexcept {
        realm::error error;
        std::size_t next = from;
        if (realm_posix_map_move_to_huge(&c_, from, bytes, &next, error.c()) != REALM_STATUS_OK) {
            return error;
        }
        return next;
    }
    explicit operator bool() const noexcept { return c_.data != nullptr; }
    const realm_posix_map *c() const noexcept { return &c_; }
    // Gives it up: the caller unmaps it.
    realm_posix_map release() noexcept { return std::exchange(c_, realm_posix_map()); }

private:
    realm_posix_map c_ = {};
};

// Registers a file as a model. It is unmapped when the model's last user is gone, or here if this fails.
// `id` 0: derived from its bytes, all of which are read for it.
inline result<model> add_model(file &&from, std::uint32_t id = 0, realm_store *store = nullptr) noexcept {
    const realm_posix_map c = from.release();
    const realm_bytes part = {c.data, c.bytes};
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    source.parts = &part;
    source.part_count = 1;
    source.id = id;
    source.release = realm_posix_release;
    return model::add(source, store);
}
// The same, watched: `progress` as in realm::observe, needed for the call only.
template <class F>
result<model> add_model(file &&from, std::uint32_t id, realm_store *store, F &&progress) noexcept {
    const realm_posix_map c = from.release();
    const realm_bytes part = {c.data, c.bytes};
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    using by_address = realm::detail::callback<std::remove_reference_t<F> &>;
    source.parts = &part;
    source.part_count = 1;
    source.id = id;
    source.release = realm_posix_release; // which has no use for the ctx
    source.ctx = by_address::pack(progress);
    source.progress = [](void *ctx, std::uint64_t done, std::uint64_t total) -> std::int32_t {
        return realm::detail::go_on(by_address::call(ctx, done, total));
    };
    return model::add(source, store);
}

} // namespace posix
} // namespace realm

#endif // REALM_POSIX_HPP
