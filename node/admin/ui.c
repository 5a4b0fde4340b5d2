/* The dashboard's files. */
#include "node/admin/ui.h"

#include <string.h>

const struct ui_file *ui_find(const char *path)
{
    for (size_t i = 0; i < ui_nfiles; i++)
        if (strcmp(ui_files[i].path, path) == 0)
            return &ui_files[i];
    return NULL;
}
