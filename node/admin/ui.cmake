# The dashboard's files go into the program as bytes, so that nothing need be installed or built to serve them.
set(ui_dir ${PROJECT_SOURCE_DIR}/node/admin/ui)
file(GLOB ui_names RELATIVE ${ui_dir} CONFIGURE_DEPENDS ${ui_dir}/*.html ${ui_dir}/*.css ${ui_dir}/*.js ${ui_dir}/*.svg)
list(SORT ui_names)
set(ui_arrays "")
set(ui_rows "")
foreach(name ${ui_names})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${ui_dir}/${name})
  file(READ ${ui_dir}/${name} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(MAKE_C_IDENTIFIER "file_${name}" id)
  get_filename_component(ext ${name} LAST_EXT)
  if(ext STREQUAL ".html")
    set(type "text/html; charset=utf-8")
  elseif(ext STREQUAL ".css")
    set(type "text/css; charset=utf-8")
  elseif(ext STREQUAL ".svg")
    set(type "image/svg+xml")
  else()
    set(type "text/javascript; charset=utf-8")
  endif()
  if(name STREQUAL "index.html")
    set(path "/")
  else()
    set(path "/ui/${name}")
  endif()
  string(APPEND ui_arrays "static const unsigned char ${id}[] = { ${bytes} };\n")
  string(APPEND ui_rows "    { \"${path}\", \"${type}\", ${id}, sizeof(${id}) },\n")
endforeach()
file(CONFIGURE OUTPUT ui_files.c CONTENT [[
/* node/admin/ui, made by CMake. */
#include "node/admin/ui.h"

@ui_arrays@
const struct ui_file ui_files[] = {
@ui_rows@};
const size_t ui_nfiles = sizeof(ui_files) / sizeof(ui_files[0]);
]] @ONLY)
