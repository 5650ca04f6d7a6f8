#!/bin/sh
# Builds a wheel of llama-cpp-python with CUDA, here, for a machine with a GPU that has no network
# or no compiler. No GPU is needed for it.
#
#   scripts/cuda_wheel.sh [ARCHITECTURES] [FOLDER]
#
# ARCHITECTURES are compute capabilities without the dot, such as "80;90"; 90 is an H100. FOLDER
# gets the wheel. Needed are nvcc, CMake, a C++ compiler and a package index; cuBLAS and the
# driver's stub, which slim CUDA installations lack, are added.
set -eu

architectures=${1:-90}
folder=${2:-dist}
python=${PYTHON:-python3}
version=${LLAMA_CPP_PYTHON:-0.3.36}
jobs=${CMAKE_BUILD_PARALLEL_LEVEL:-2}

nvcc=$(command -v nvcc) || { echo "nvcc is not on the PATH" >&2; exit 1; }
release=$("$nvcc" --version | sed -n 's/.*release \([0-9]*\)\..*/\1/p')
# What nvcc itself takes for the toolkit, also where it is a link or a wrapper.
toolkit=$("$nvcc" --dryrun -x cu -c /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p' | head -n 1)
toolkit=$(cd "$toolkit" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

arguments="-DGGML_CUDA=on -DCMAKE_CUDA_ARCHITECTURES=$architectures -DGGML_NATIVE=off"

if ! find -L "$toolkit" -name 'libcublas.so' | grep -q .; then
    if [ "$release" -ge 13 ]; then package="nvidia-cublas==$release.*"
    else package="nvidia-cublas-cu$release"; fi
    "$python" -m pip download --quiet --no-deps --only-binary :all: --dest "$work" "$package"
    "$python" -m zipfile -e "$work"/nvidia_cublas*.whl "$work/cublas"
    lib=$(dirname "$(find "$work/cublas" -name 'libcublas.so.*')")
    for name in cublas cublasLt; do
        ln -s "$lib/lib$name.so.$release" "$lib/lib$name.so"
        arguments="$arguments -DCUDA_${name}_LIBRARY=$lib/lib$name.so"
    done
    include=$(dirname "$lib")/include
    arguments="$arguments -DCMAKE_CUDA_FLAGS=-I$include -DCMAKE_CXX_FLAGS=-I$include"
fi

if ! find -L "$toolkit" -path '*stubs*' -name 'libcuda.so' | grep -q .; then
    # The driver's own library takes its place where the wheel runs.
    for function in GetErrorString DeviceGet DeviceGetAttribute MemGetAllocationGranularity \
        MemCreate MemAddressReserve MemMap MemSetAccess MemUnmap MemAddressFree MemRelease; do
        echo "int cu$function(void) { return 100; }"
    done >"$work/stub.c"
    ${CC:-cc} -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$work/libcuda.so" "$work/stub.c"
    arguments="$arguments -DCUDA_cuda_driver_LIBRARY=$work/libcuda.so"
fi

echo "CMAKE_ARGS=\"$arguments\"" >&2
# --no-cache-dir: pip would give this wheel to later installations on this machine.
CUDACXX="$nvcc" CMAKE_ARGS="$arguments" CMAKE_BUILD_PARALLEL_LEVEL="$jobs" \
    "$python" -m pip wheel --no-cache-dir --no-deps --no-binary llama-cpp-python \
    --wheel-dir "$folder" "llama-cpp-python==$version"
