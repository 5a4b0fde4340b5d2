/* Error codes: their texts. */
#include "base/err.h"

#include <string.h>

static const struct {
    int code;
    const char *text;
} texts[] = {
    { 0, "no error" },
    { ERR_TORN, "input ends too early" },
    { ERR_CORRUPT, "stored data is corrupt" },
    { ERR_BAD, "malformed input" },
    { ERR_LIMIT, "a limit is reached" },
    { ERR_NOT_FOUND, "not found" },
    { ERR_EXISTS, "exists already" },
    { ERR_BUSY, "busy" },
    { ERR_DISK_FULL, "disk nearly full" },
    { ERR_CLOSED, "closed" },
    { ERR_DENIED, "not allowed" },
    { ERR_TIMEOUT, "timed out" },
    { ERR_FAILED, "a library call failed" },
};

const char *err_text(int err)
{
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i].code == err)
            return texts[i].text;
    if (err < 0 && err > -4096) {
        const char *name = strerrordesc_np(-err);
        if (name != NULL)
            return name;
    }
    return "unknown error";
}
