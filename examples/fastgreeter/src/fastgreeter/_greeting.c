#include <Python.h>

static PyObject *greeting(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"name", NULL};
    const char *name = "world";

    (void)self;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|s", names, &name))
        return NULL;
    return PyUnicode_FromFormat("Hello, %s!", name);
}

static PyMethodDef methods[] = {
    {"greeting", (PyCFunction)(void (*)(void))greeting, METH_VARARGS | METH_KEYWORDS,
     "Return one line that greets `name`."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_greeting", "Greets, in C.", 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__greeting(void)
{
    return PyModuleDef_Init(&module);
}
