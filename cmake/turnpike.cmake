# What every target of ours is built with, and the functions that declare a library, a test and a fuzzer.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
foreach(dep libuv liblz4 openssl libunbound jansson libmicrohttpd libcurl libpcre2-8 libidn2
            libcrypt sqlite3 libisal libpsl)
  string(MAKE_C_IDENTIFIER ${dep} id)
  pkg_check_modules(${id} REQUIRED IMPORTED_TARGET ${dep})
endforeach()
# Older ones can lose committed entries: docs/dependencies.md.
pkg_check_modules(raft REQUIRED raft>=0.22.1)
find_package(nng 1.5 REQUIRED)

add_library(turnpike_flags INTERFACE)
target_compile_definitions(turnpike_flags INTERFACE _GNU_SOURCE TURNPIKE_VERSION="${PROJECT_VERSION}")
target_compile_options(turnpike_flags INTERFACE -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes
  -Wmissing-prototypes -Werror -fno-omit-frame-pointer)
target_include_directories(turnpike_flags INTERFACE ${PROJECT_SOURCE_DIR})
if(TURNPIKE_SANITIZE)
  target_compile_options(turnpike_flags INTERFACE -fsanitize=${TURNPIKE_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(turnpike_flags INTERFACE -fsanitize=${TURNPIKE_SANITIZE})
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(turnpike_flags INTERFACE -D_FORTIFY_SOURCE=2 -fstack-protector-strong)
  target_link_options(turnpike_flags INTERFACE -Wl,-z,relro,-z,now)
endif()
# A build with one fault of test/mutants/faults.txt in it, to see that the tests find it: test/mutants.sh.
set(TURNPIKE_MUTANT "" CACHE STRING "a fault to build in; for tests of the tests")
if(TURNPIKE_FUZZ)
  target_compile_options(turnpike_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# turnpike_mutate(OUT FAULT file...): the same sources, but a changed copy of what the fault is in. It may leave
# something unused.
function(turnpike_mutate out fault)
  set(tool ${PROJECT_SOURCE_DIR}/test/mutants/table.py)
  set(dir ${CMAKE_CURRENT_BINARY_DIR}/mutants/${fault})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/test/mutants/faults.txt)
  execute_process(COMMAND /usr/bin/python3 ${tool} files ${fault} OUTPUT_VARIABLE files
                  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  set(sources)
  foreach(source ${ARGN})
    cmake_path(ABSOLUTE_PATH source NORMALIZE)
    cmake_path(RELATIVE_PATH source BASE_DIRECTORY ${PROJECT_SOURCE_DIR} OUTPUT_VARIABLE file)
    if(file IN_LIST files)
      add_custom_command(OUTPUT ${dir}/${file} COMMAND /usr/bin/python3 ${tool} write ${fault} ${dir}
                         DEPENDS ${source} ${tool} ${PROJECT_SOURCE_DIR}/test/mutants/faults.txt)
      set(source ${dir}/${file})
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS -w)
    endif()
    list(APPEND sources ${source})
  endforeach()
  set(${out} ${sources} PARENT_SCOPE)
endfunction()

# turnpike_library(NAME SOURCES file... LINK lib...): a static library of ours
function(turnpike_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  list(TRANSFORM arg_SOURCES PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/ REGEX "^[^/]" OUTPUT_VARIABLE all)
  if(TURNPIKE_MUTANT)
    turnpike_mutate(arg_SOURCES ${TURNPIKE_MUTANT} ${all})
  endif()
  add_library(${name} STATIC ${arg_SOURCES})
  set_target_properties(${name} PROPERTIES TURNPIKE_SOURCES "${all}") # for tests that build them with a fault
  target_link_libraries(${name} PUBLIC turnpike_flags ${arg_LINK})
endfunction()

# turnpike_test(NAME SOURCES file... LINK lib... [TIMEOUT s] [ENVIRONMENT k=v...]): a cmocka program under ctest
function(turnpike_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;LINK;ENVIRONMENT" ${ARGN})
  if(NOT TARGET PkgConfig::cmocka)
    pkg_check_modules(cmocka REQUIRED IMPORTED_TARGET GLOBAL cmocka)
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LINK} turnpike_flags PkgConfig::cmocka)
  target_compile_definitions(${name} PRIVATE TEST_SOURCE_DIR="${CMAKE_CURRENT_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${name})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT})
  if(arg_ENVIRONMENT)
    set_tests_properties(${name} PROPERTIES ENVIRONMENT "${arg_ENVIRONMENT}")
  endif()
endfunction()

# turnpike_fuzzer(NAME SOURCE file LINK lib... CORPUS dir): with TURNPIKE_FUZZ a libFuzzer program; in every
# build, a program that replays the corpus under ctest
function(turnpike_fuzzer name)
  cmake_parse_arguments(arg "" "SOURCE;CORPUS" "LINK" ${ARGN})
  if(TURNPIKE_FUZZ)
    add_executable(${name} ${arg_SOURCE})
    target_link_libraries(${name} PRIVATE ${arg_LINK} turnpike_flags)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  endif()
  add_executable(${name}_replay ${arg_SOURCE} ${PROJECT_SOURCE_DIR}/test/lib/fuzz_replay.c)
  target_link_libraries(${name}_replay PRIVATE ${arg_LINK} turnpike_flags)
  if(TURNPIKE_FUZZ)
    target_link_options(${name}_replay PRIVATE -fsanitize=fuzzer-no-link)
  endif()
  add_test(NAME ${name}_replay COMMAND ${name}_replay ${arg_CORPUS})
  set_tests_properties(${name}_replay PROPERTIES TIMEOUT 300)
endfunction()
