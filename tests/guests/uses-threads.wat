;; Is a whole component with shared memory, as threads use it.
(component (core module (memory 1 1 shared)))
