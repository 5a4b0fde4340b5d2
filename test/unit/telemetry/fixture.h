/* What the telemetry tests share: a directory of their own, and reading files. */
#ifndef TEST_UNIT_TELEMETRY_FIXTURE_H
#define TEST_UNIT_TELEMETRY_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char test_dir[64];

static inline int make_dir(void **state)
{
    (void)state;
    snprintf(test_dir, sizeof test_dir, "/tmp/turnpike-telemetry-XXXXXX");
    return mkdtemp(test_dir) == NULL ? -1 : 0;
}

static inline int drop_dir(void **state)
{
    (void)state;
    char path[512];
    DIR *d = opendir(test_dir);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", test_dir, e->d_name);
        unlink(path);
    }
    if (d != NULL)
        closedir(d);
    return rmdir(test_dir);
}

static inline const char *in_dir(char path[256], const char *name)
{
    snprintf(path, 256, "%s/%s", test_dir, name);
    return path;
}

/* The file's text, to be freed; empty when there is none. */
static inline char *read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    char *text = calloc(1, 1);
    size_t n = 0;
    for (char part[4096]; f != NULL;) {
        size_t got = fread(part, 1, sizeof part, f);
        if (got == 0)
            break;
        text = realloc(text, n + got + 1);
        memcpy(text + n, part, got);
        n += got;
        text[n] = '\0';
    }
    if (f != NULL)
        fclose(f);
    return text;
}

static inline unsigned count_lines(const char *text)
{
    unsigned n = 0;
    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

static inline unsigned mode_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_mode & 07777 : 0;
}

#endif
