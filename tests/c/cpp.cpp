// cpp.cpp - the C interface from C++17: initialisers, linkage, a runtime that comes and goes.
#include "realm.h"
#include "realm_posix.h"

#include <cstdio>

int main() {
    realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
    realm_runtime *runtime = nullptr;
    realm_error error = {};
    if (options.struct_size != sizeof options || options.abi_version != REALM_ABI_VERSION) {
        return 1;
    }
    options.platform = realm_posix_platform();
    if (realm_runtime_create(&options, &runtime, &error) != REALM_STATUS_OK) {
        std::fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    const bool named = realm_runtime_backend_count(runtime) > 0;
    realm_runtime_destroy(runtime);
    return named ? 0 : 1;
}
