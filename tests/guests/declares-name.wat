;; Declares that it writes `/metadata/name`, which no policy may.
;;@ writes /metadata/labels /metadata/name
