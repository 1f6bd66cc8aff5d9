"""Classifies a folder of images on a Spark cluster, with one session in every Python worker.

    spark-submit spark_predict.py MODEL.fgq IMAGE_DIR OUT.parquet

The model and the images must lie where every worker can read them.
"""

import argparse
from pathlib import Path

import numpy as np
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import SparkSession
from pyspark.sql.types import FloatType, IntegerType, StructField, StructType


def make_predict(model):
    """What Spark calls once in every worker."""

    def make():
        import fgq

        session = fgq.load(model).session(threads=1)

        def predict(paths: np.ndarray) -> dict:
            guesses = [best for (best, *_) in session.classify([str(path) for path in paths])]
            return {
                "class": np.array([guess.index for guess in guesses], np.int32),
                "probability": np.array([guess.probability for guess in guesses], np.float32),
            }

        return predict

    return make


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("images")
    parser.add_argument("output")
    options = parser.parse_args()

    spark = SparkSession.builder.appName("fgq").getOrCreate()
    endings = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
    paths = sorted(str(path.resolve()) for path in Path(options.images).rglob("*") if path.suffix.lower() in endings)
    answer = StructType([StructField("class", IntegerType()), StructField("probability", FloatType())])
    predict = predict_batch_udf(make_predict(str(Path(options.model).resolve())), return_type=answer, batch_size=64)
    images = spark.createDataFrame([(path,) for path in paths], ["path"])
    images.withColumn("answer", predict("path")).select("path", "answer.*").write.parquet(options.output)


if __name__ == "__main__":
    main()
