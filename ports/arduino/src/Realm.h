/* Realm.h - the name under which Arduino's and PlatformIO's projects include it. */
#ifndef REALM_ARDUINO_H
#define REALM_ARDUINO_H

#include "realm.h"
#include "realm_arena.h"

#endif /* REALM_ARDUINO_H */
